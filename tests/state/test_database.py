"""Opening: where, which version, what when it cannot be reached; transactions and the clock."""

from __future__ import annotations

import os
import stat
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text, update

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Transient
from dsp_airflow.engine.model import Rates
from dsp_airflow.naming import BATCHES as TRIED
from dsp_airflow.naming import RUN, TABLE
from dsp_airflow.state import schema
from dsp_airflow.state.buckets import Bucket
from dsp_airflow.state.cursors import Cursors
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.state.location import normalised, state_url
from dsp_airflow.state.records import Job, JobState
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches
from dsp_airflow.state.tables import BATCHES, DRILLS, METADATA, MOVED
from tests.servers import Database, free_port
from tests.state import processes
from tests.state.samples import batches, plan

SETTING = "AIRFLOW__DSP__SQL_ALCHEMY_CONN"


def set_version(state: StateDatabase, version: str) -> None:
    with state.write() as connection:
        connection.execute(text("UPDATE dsp_version SET version_num = :v"), {"v": version})


def test_migrations_make_what_the_tables_declare(state: StateDatabase) -> None:
    with state.read() as connection:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


def test_known_revisions_are_those_of_the_files() -> None:
    folder = Path(schema.__file__).parent / "migrations"
    files = [s.revision for s in ScriptDirectory(str(folder)).walk_revisions()]
    assert tuple(reversed(files)) == schema.REVISIONS


def test_missing_schema_asks_for_upgrade(empty_url: str) -> None:
    with pytest.raises(ConfigError, match="dsp db upgrade"):
        open_state(empty_url)
    assert upgrade(empty_url) == upgrade(empty_url) == schema.HEAD
    open_state(empty_url).close()


def test_older_and_newer_schemas(
    state: StateDatabase, state_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_version(state, "9999")
    with pytest.raises(ConfigError, match="package is older than the database"):
        open_state(state_url)
    with pytest.raises(ConfigError, match="package is older than the database"):
        upgrade(state_url)
    set_version(state, "0000")
    monkeypatch.setattr(schema, "REVISIONS", ("0000", *schema.REVISIONS))
    with pytest.raises(ConfigError, match=f"needs {schema.HEAD}; run `dsp db upgrade`"):
        open_state(state_url)


def test_airflows_own_database_is_refused(pg15_db: Database) -> None:
    pg15_db.execute("CREATE TABLE dag_run (id int)")
    with pytest.raises(ConfigError, match="Airflow's metadata database"):
        upgrade(pg15_db.uri)
    assert pg15_db.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 1


def test_many_processes_create_it_at_once(empty_url: str) -> None:
    assert len(processes.together(8, processes.create, empty_url)) == 8
    open_state(empty_url).close()


def test_forked_processes_share_an_open_database(state: StateDatabase) -> None:
    before = state.now()
    assert len(processes.together(4, processes.use_inherited, state)) == 4
    assert state.now() >= before


def test_sqlite_file_is_private_and_durable(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with open_state(f"sqlite:///{tmp_path}/a/dsp%20 b.db", create=True) as state:
            with state.read() as connection:
                pragmas = {
                    name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                    for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
                }
            modes = {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "a").iterdir()}
    finally:
        os.umask(old)
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30000,
    }
    assert modes == {0o600}


def test_sqlite_file_that_vanishes_is_not_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "dsp.db"
    with open_state(f"sqlite:///{file}", create=True) as state:
        state.close()
        file.unlink()
        with pytest.raises(DspError):
            state.now()
    assert not file.exists()


def test_not_a_database(tmp_path: Path) -> None:
    file = tmp_path / "dsp.db"
    file.write_bytes(b"not a database at all, " * 100)
    with pytest.raises(ConfigError, match="not a sound SQLite file"):
        open_state(f"sqlite:///{file}")


def test_clock_is_utc_and_moves(state: StateDatabase) -> None:
    first, second = state.now(), state.now()
    assert first.tzinfo is UTC
    assert first <= second
    assert abs(datetime.now(UTC) - second) < timedelta(seconds=5)


def test_a_failing_transaction_leaves_nothing(state: StateDatabase) -> None:
    def fail() -> None:
        with state.write() as connection:
            connection.execute(text("DELETE FROM receipt_head"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with state.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM receipt_head")).scalar() == 1


def test_writers_wait_for_each_other(state: StateDatabase) -> None:
    """Reading, then writing, in one transaction loses nothing among threads."""

    def add() -> None:
        for _ in range(25):
            with state.write() as connection:
                seq = connection.execute(
                    text(
                        "SELECT seq FROM receipt_head" + ("" if state.is_sqlite else " FOR UPDATE")
                    )
                ).scalar_one()
                connection.execute(text("UPDATE receipt_head SET seq = :s"), {"s": seq + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with state.read() as connection:
        assert connection.execute(text("SELECT seq FROM receipt_head")).scalar_one() == 100


def test_locked_sqlite_is_transient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsp_airflow.state.database.BUSY_SECONDS", 0.1)
    with open_state(f"sqlite:///{tmp_path}/dsp.db", create=True) as state, state.write():
        with pytest.raises(Transient, match="locked") as caught, state.write():
            pass
        assert caught.value.__cause__ is not None


def test_lost_connection_is_transient_and_heals(pg15_db: Database) -> None:
    upgrade(pg15_db.uri)

    def lose(state: StateDatabase) -> None:
        with state.write() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            pg15_db.value("SELECT pg_terminate_backend(%s)", pid)
            connection.execute(text("SELECT 1"))

    with open_state(pg15_db.uri) as state:
        with pytest.raises(Transient, match="not available"):
            lose(state)
        assert state.now().tzinfo is UTC


@pytest.mark.parametrize("prefix", ["postgresql", "postgres", "postgresql+psycopg"])
def test_faults_name_the_place_and_hide_the_password(pg15_db: Database, prefix: str) -> None:
    def url(user: str = "dsp_admin", port: int = pg15_db.server.port, db: str = "nope") -> str:
        return f"{prefix}://{user}:s3cr3t@127.0.0.1:{port}/{db}"

    for kind, bad in (
        (Denied, url(db=pg15_db.name)),
        (Denied, url(user="stranger", db=pg15_db.name)),
        (Transient, url(port=free_port())),
        (ConfigError, pg15_db.server.uri("nope").replace("postgresql", prefix, 1)),
    ):
        with pytest.raises(kind, match=r"127\.0\.0\.1") as caught:
            open_state(bad)
        told = f"{caught.value} {caught.value.__cause__}"
        assert "s3cr3t" not in told
        assert pg15_db.server.password not in told


def test_missing_privilege_is_denied(pg15_db: Database) -> None:
    upgrade(pg15_db.uri)
    pg15_db.execute("DROP ROLE IF EXISTS clerk", "CREATE ROLE clerk LOGIN PASSWORD 'pw'")
    try:
        with pytest.raises(Denied, match="permission denied"):
            open_state(pg15_db.server.uri(pg15_db.name, user="clerk", password="pw"))
    finally:
        pg15_db.execute("DROP OWNED BY clerk", "DROP ROLE clerk")


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("mysql://u:s3cr3t@h/d", "mysql cannot hold the state"),
        ("sqlite://", "plain file"),
        ("sqlite:///:memory:", "plain file"),
        ("s3cr3t", "not a database URL"),
        ("postgresql://u:s3@cr3t@h/d", "%40"),
    ],
)
def test_bad_urls(bad: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        normalised(bad)
    assert "cr3t" not in str(caught.value)


def test_where_the_setting_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "airflow.configuration", None)
    assert state_url().database == str(tmp_path / "dsp.db")
    cfg = tmp_path / "airflow.cfg"
    cfg.write_text("[dsp]\nsql_alchemy_conn_cmd = echo postgresql://h/from_file_cmd\n")
    assert state_url().database == "from_file_cmd"
    cfg.write_text("[dsp]\nsql_alchemy_conn = postgresql://u:p%%40w@h/from_file\n")
    assert (state_url().database, state_url().password) == ("from_file", "p@w")
    monkeypatch.setenv(f"{SETTING}_CMD", "echo postgres://h/from_cmd")
    assert state_url().database == "from_cmd"
    monkeypatch.setenv(SETTING, "sqlite:///$AIRFLOW_HOME/from_env.db")
    assert state_url().database == str(tmp_path / "from_env.db")
    assert state_url("postgresql://h/given").database == "given"


def test_failing_command_tells_nothing_of_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{SETTING}_CMD", "sh -c 'echo s3cr3t; exit 3'")
    with pytest.raises(ConfigError, match="code 3") as caught:
        state_url()
    assert "s3cr3t" not in str(caught.value)


def succeeded(state: StateDatabase, run: str, job: str) -> tuple[Job, list[Any]]:
    """A job of which two of three batches were copied, and what it moved by day."""
    runs = Runs(state)
    runs.add_job(run, job, 0, source_table="t", source_connection="pg", source_identity="db")
    SqlLedger(state, run, job).planned(plan(job), batches(3))
    day = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
    with state.write() as connection:
        for number in (1, 2):
            connection.execute(
                update(BATCHES)
                .where(BATCHES.c.number == number)
                .values(
                    copied_at=day + timedelta(days=number),
                    rows_written=7,
                    bytes=70,
                    seconds=0.5,
                    rows_purged=number,
                    rows_kept=1,
                )
            )
    moves: tuple[JobState, ...] = ("planned", "copying", "copied", "succeeded")
    for move in moves:
        runs.move(run, job, move)
    with state.read() as connection:
        moved = connection.execute(select(MOVED).order_by(MOVED.c.day)).all()
    assert [(one.day, one.rows_copied, one.rows_purged, one.bytes) for one in moved] == [
        ("", 0, 0, 0),
        ("2026-03-02", 7, 1, 70),
        ("2026-03-03", 7, 2, 70),
    ]
    return runs.job(run, job), list(moved)


def test_an_older_database_is_brought_up_to_date(state: StateDatabase, state_url: str) -> None:
    """What it holds stays."""
    run = Runs(state).start("task", "task.yaml", {}, "digest")
    target = {"connection": "s3", "bucket": "cold", "prefix": "a"}
    kinds = {"b": "warm", "a": "s3"}
    jobs = [{"name": name, "type": kinds[name], "target": target} for name in kinds]
    airflows = Runs(state).start("task", "t", {"jobs": jobs}, "digest", external_key="dag/run/a")
    archived, before = succeeded(state, airflows.id, "a")
    drill = {"name": "d", "type": "restore", "drill": {"task": "task", "job": "a"}}
    tried = Runs(state).start("drill", "d", {"jobs": [drill, jobs[0]]}, "digest")
    its = {RUN: airflows.id, TRIED: "1-2", TABLE: "t_dsp_drill"}
    Runs(state).begin(tried.id, {"d": its, "b": {"day": "2026-01-01"}})
    Runs(state).finish(tried.id, "failed")
    with state.read() as connection:
        drilled = connection.execute(select(DRILLS)).all()
    first = [
        "runs",
        "jobs",
        "batches",
        "differences",
        "receipts",
        "receipt_head",
        "outbox",
        "leases",
    ]
    with state.write() as connection:
        for table in reversed(METADATA.sorted_tables):
            if table.name not in first:
                table.drop(connection)
        for index in (
            "ix_runs_dag_created_at",
            "ix_runs_created_at",
            "ix_receipts_target",
            "ix_batches_intent",
        ):
            connection.exec_driver_sql(f"DROP INDEX {index}")
        for column in ("target", "relied"):
            connection.exec_driver_sql(f"ALTER TABLE receipts DROP COLUMN {column}")
        for column in ("stop_requested_by", "stop_requested_at", "stop_reason", "dag", "types"):
            connection.exec_driver_sql(f"ALTER TABLE runs DROP COLUMN {column}")
        for column in ("seen_at", "swapped_at", "type", "target_connection", "target", "undone_at"):
            connection.exec_driver_sql(f"ALTER TABLE jobs DROP COLUMN {column}")
        connection.exec_driver_sql("ALTER TABLE batches DROP COLUMN rows_gone")
    set_version(state, "0001")
    with pytest.raises(ConfigError, match=f"has schema 0001, this package needs {schema.HEAD}"):
        open_state(state_url)
    assert upgrade(state_url) == schema.HEAD
    with open_state(state_url) as database:
        assert Runs(database).get(run.id) == run
        assert Runs(database).get(airflows.id) == airflows
        assert (run.dag, airflows.dag, airflows.types) == ("task", "dag", "s3 warm")
        assert Runs(database).job(airflows.id, "a") == archived
        assert (archived.type, archived.target_connection, archived.target) == (
            "s3",
            "s3",
            "cold/a",
        )
        with database.read() as connection:
            assert connection.execute(select(MOVED).order_by(MOVED.c.day)).all() == before
            assert connection.execute(select(DRILLS)).all() == drilled
            assert len(drilled) == 1
        assert Cursors(database).of_task("task") == []
        assert LimitChanges(database, run.id).all() == []
        assert Switches(database).of("task") is None
        assert Bucket(database, run.id, "job")(Rates(rows=1), 1, 1) == 0


def test_sessions_say_what_they_are_for(pg_db: Database) -> None:
    upgrade(pg_db.sqlalchemy_url)
    with open_state(pg_db.sqlalchemy_url) as state, state.read() as connection:
        name = connection.execute(
            text("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        ).scalar_one()
    assert name == "dsp:state"
