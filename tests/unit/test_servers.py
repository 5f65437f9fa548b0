"""The servers the other tests stand on."""

from __future__ import annotations

import os
import smtplib
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.conftest import NewDatabase
from tests.servers import Database, RedisServer, ServerError, SmtpSink, postgres


def test_database_is_fresh_and_unicode(pg_db: Database) -> None:
    assert pg_db.value("SELECT count(*) FROM pg_stat_user_tables") == 0
    pg_db.execute("CREATE TABLE t (v text)", "INSERT INTO t VALUES ('ü€😀')")
    assert pg_db.rows("SELECT v, octet_length(v) FROM t") == [("ü€😀", 9)]
    assert pg_db.value("SELECT %s::int + 1", 1) == 2


def test_versions(pg15_db: Database, pg18_db: Database) -> None:
    version = "SELECT current_setting('server_version_num')::int / 10000"
    assert (pg15_db.value(version), pg18_db.value(version)) == (15, 18)


def test_wrong_password_is_refused(pg18_db: Database) -> None:
    import psycopg

    uri = pg18_db.server.uri(pg18_db.name, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(uri)


def test_several_databases(new_pg_db: NewDatabase) -> None:
    source, target = new_pg_db(), new_pg_db()
    assert source.name != target.name
    assert source.server is target.server


def test_stop_leaves_nothing_behind() -> None:
    server = postgres("18")
    with server:
        folder, pid = server.folder, server.pid
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_crash_and_restart_keep_the_data() -> None:
    with postgres("18", fsync=True) as server:
        database = Database(server, "postgres")
        database.execute("CREATE TABLE t AS SELECT 1 AS id")
        server.kill()
        server.restart()
        assert database.rows("SELECT id FROM t") == [(1,)]


def test_start_failure_shows_the_log() -> None:
    server = postgres("18", settings={"no_such_setting": "1"})
    with pytest.raises(ServerError, match='unrecognized configuration parameter "no_such_setting"'):
        server.start()


def test_smtp_sink_keeps_the_mail(smtp_sink: SmtpSink) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "dsp@example.com", "oncall@example.com", "Größe"
    mail.set_content("Zeile 1\n")
    with smtplib.SMTP(smtp_sink.host, smtp_sink.port) as client:
        client.send_message(mail)
    [received] = smtp_sink.wait_for_mails(1, 5)
    assert received["Subject"] == "Größe"
    assert received["X-RcptTo"] == "oncall@example.com"
    assert received.get_content().strip() == "Zeile 1"


def test_missing_server_is_an_error_not_a_skip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.servers.databases.DEBIAN_15", tmp_path / "absent")
    with pytest.raises(ServerError, match="PostgreSQL 15 is missing; run: scripts/system-packages"):
        postgres("15")


def test_redis_asks_for_its_password() -> None:
    import redis

    with RedisServer() as server:
        folder, pid = server.folder, server.pid
        with server.connect() as client:
            assert client.incr("n") == 1
        assert server.version.count(".") == 2
        stranger = redis.Redis(host="127.0.0.1", port=server.port)
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_missing_redis_is_an_error_not_a_skip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match="Redis is missing; run: scripts/system-packages test"):
        RedisServer().start()
