"""Servers that are set up otherwise than any of ours: the right result, or a clear error."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dsp_airflow.engine.errors import Denied, Refused, Transient
from dsp_airflow.engine.resolved import Resolved, Resolves
from tests.engine.harness import store_at
from tests.faults.tables import fill, rows_of
from tests.mysql.pairs import Pair, Values
from tests.mysql.test_values import from_mysql, from_postgres
from tests.servers import (
    Database,
    MariaDBServer,
    MySQLDatabase,
    MySQLFamilyServer,
    MySQLServer,
    PostgresServer,
    free_port,
    fresh_database,
    fresh_mysql_database,
)

PACKET = 1 << 20
ODD: dict[str, str | int | None] = {
    "autocommit": 0,
    "character_set_server": "latin1",
    "explicit_defaults_for_timestamp": 0,
    "innodb_rollback_on_timeout": 1,
    "local_infile": 0,
    "lower_case_table_names": 1,
    "max_allowed_packet": PACKET,
    "sql_mode": "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,PIPES_AS_CONCAT",
    "transaction_isolation": "SERIALIZABLE",
}
ZONE = "Asia/Kolkata"
Fresh = Callable[[], MySQLDatabase]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a table may stand, on a disk of its own."""
    return tmp_path_factory.mktemp("disk")


@pytest.fixture(scope="module", params=["mariadb", pytest.param("mysql", marks=pytest.mark.soak)])
def odd(request: pytest.FixtureRequest, place: Path) -> Iterator[MySQLFamilyServer]:
    """One server with all of these settings, in a time zone of half an hour."""
    if request.param == "mysql":
        request.getfixturevalue("mysql_installed")
        server: MySQLFamilyServer = MySQLServer(
            {**ODD, "innodb_directories": str(place)}, zone=ZONE
        )
    else:
        server = MariaDBServer(ODD, zone=ZONE)
    with server:
        yield server


@pytest.fixture
def fresh(odd: MySQLFamilyServer) -> Iterator[Fresh]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(fresh_mysql_database(odd))


@pytest.fixture
def postgres_db(pg18: PostgresServer) -> Iterator[Database]:
    with fresh_database(pg18) as database:
        yield database


def small(values: Values) -> Values:
    """Those that a small packet holds twice over."""
    return [(native, those) for native, those in values if "repeat(" not in str(those).lower()]


def test_every_type_between_servers_of_odd_settings(fresh: Fresh, tmp_path: Path) -> None:
    """Copied by INSERTs, checked and purged; tables are found however their names are written."""
    pair = Pair(tmp_path, fresh(), fresh())
    rows = pair.fill(small(from_mysql(strict=False)))
    assert pair.moved(rows, table="T").rows_written == rows
    assert pair.target.value("SELECT COUNT(*) FROM t") == rows
    # Grants are on what the catalog lists, and such servers do not tell names by their case.
    with pair.store("target").session() as session:
        assert isinstance(session, Resolves)
        schema = pair.target.name
        for name in ("T", f"{schema.upper()}.T", '"T"'):
            assert session.resolved(name) == Resolved(schema, "t", folds=True)


def test_every_type_to_and_from_postgres(
    fresh: Fresh, postgres_db: Database, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    out = Pair(tmp_path / "out", fresh(), postgres_db)
    out.moved(out.fill(small(from_mysql(strict=True))))
    postgres_db.execute("DROP TABLE t")
    back = Pair(tmp_path, postgres_db, fresh())
    # A purge keeps JSON that the target spells otherwise.
    plain = [(native, those) for native, those in from_postgres() if "json" not in native]
    back.moved(back.fill(small(plain)))


def heavy(pair: Pair, *texts: str) -> Pair:
    """Rows of which each has one long text."""
    pair.source.execute("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT CHARACTER SET utf8mb4)")
    for n, text in enumerate(texts):
        pair.source.execute(f"INSERT INTO t VALUES ({n}, {text})")
    return pair


def test_rows_up_to_the_packet_and_above(
    odd: MySQLFamilyServer, fresh: Fresh, mariadb_db: MySQLDatabase, tmp_path: Path
) -> None:
    """Of the source by name, before anything is copied; of the target by the statement's size."""
    # A quote takes two bytes in an INSERT.
    texts = [f"REPEAT('ab', {PACKET // 4 - 200})", f"REPEAT('''', {PACKET // 2 - 200})", "'short'"]
    pair = heavy(Pair(tmp_path, fresh(), fresh()), *texts)
    pair.moved(len(texts))
    odd.run(f"SET GLOBAL max_allowed_packet = {4 * PACKET}")
    pair.source.execute(f"INSERT INTO t VALUES (9, REPEAT('ab', {PACKET // 2 + 1}))")
    odd.run(f"SET GLOBAL max_allowed_packet = {PACKET}")
    with pytest.raises(Refused, match=r"key \('9',\) .* max_allowed_packet"):
        pair.open(new=True).plan("copy")
    (tmp_path / "wide").mkdir()
    wide = heavy(Pair(tmp_path / "wide", mariadb_db, fresh()), "'short'", f"REPEAT('x', {PACKET})")
    wide.write(wide.job())
    with pytest.raises(Refused, match=r"a row takes a statement of .* max_allowed_packet"):
        wide.run()
    assert wide.target.value("SELECT COUNT(*) FROM t") == 0


def test_rows_loaded_above_the_packet_of_the_target(
    odd: MySQLFamilyServer, fresh: Fresh, mariadb_db: MySQLDatabase, tmp_path: Path
) -> None:
    """A file is no statement, so they arrive; what the server cannot render it cannot prove."""
    pair = heavy(Pair(tmp_path, mariadb_db, fresh()), "'short'", f"REPEAT('x', {2 * PACKET})")
    pair.write(pair.job(check={"percent": 100}, purge="system"))
    odd.run("SET GLOBAL local_infile = 1")
    try:
        run = pair.open()
        run.plan("copy")
        assert run.copy("copy").rows_written == 2
    finally:
        odd.run("SET GLOBAL local_infile = 0")
    assert pair.target.rows("SELECT LENGTH(v) FROM t ORDER BY id") == [(5,), (2 * PACKET,)]
    with pytest.raises(Refused, match=r"larger than max_allowed_packet .* raise max_allowed_pa"):
        run.check("copy")
    with pytest.raises(Refused):
        run.purge("copy")
    assert pair.source.value("SELECT COUNT(*) FROM t") == 2


@contextmanager
def read_only(server: MySQLFamilyServer) -> Iterator[None]:
    """Nobody writes; administrators do where there is no word against it."""
    server.run("SET GLOBAL read_only = 1")
    if server.product == "MySQL":
        server.run("SET GLOBAL super_read_only = 1")
    try:
        yield
    finally:
        server.run("SET GLOBAL read_only = 0")


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_that_becomes_read_only(
    odd: MySQLFamilyServer, fresh: Fresh, tmp_path: Path, side: str
) -> None:
    """Nothing is begun on it, and what was begun stops and goes on later."""
    pair = Pair(tmp_path, fresh(), fresh())
    fill(pair.source, 100)
    before = rows_of(pair.source)
    pair.write(pair.job(purge="system", check={"percent": 100}, batch_size=50))
    grants = [f"ALL ON `{place.name}`.*" for place in (pair.source, pair.target)]
    password = odd.create_user("app", *grants, "PROCESS ON *.*")
    pair.store = lambda conn_id: store_at(  # type: ignore[method-assign]
        conn_id, getattr(pair, conn_id).uri, user="app", password=password
    )
    run = pair.open()
    step = "copy" if side == "target" else "purge"
    if side == "target":
        with read_only(odd), pytest.raises(Denied, match="read-only"):
            run.plan("copy")
    run.plan("copy")
    if step == "purge":
        run.copy("copy")
        run.check("copy")
    with read_only(odd), pytest.raises(Refused, match="read-only"):
        getattr(run, step)("copy")
    assert rows_of(pair.source) == before
    if step == "copy":
        run.copy("copy")
        run.check("copy")
    assert run.purge("copy").rows_purged == 100
    assert rows_of(pair.target) == before


@pytest.fixture
def disk(place: Path) -> Iterator[Path]:
    """A small disk of its own at that place."""
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"NOT TESTED, a small disk takes the right to mount one: {done.stderr.strip()}")
    try:
        place.chmod(0o777)
        yield place
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(place)], check=True)


@pytest.mark.soak
def test_a_target_whose_disk_is_full(
    odd: MySQLFamilyServer, disk: Path, fresh: Fresh, tmp_path: Path
) -> None:
    """What was committed stays, nothing else does, and with more room it goes on.

    MariaDB 10.11 says that the table is full, or crashes while it takes the statement back.
    """
    pair = Pair(tmp_path, fresh(), fresh())
    fill(pair.source, 40_000)
    before = rows_of(pair.source)
    fill(pair.target, 0, f"DATA DIRECTORY = '{disk}'")
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(9 * 2**20))
    pair.write(pair.job(batch_size=1000, check={"percent": 100}))
    run = pair.open()
    run.plan("copy")
    with pytest.raises(Transient, match=r"is full; make room on the server|connection was lost"):
        run.copy("copy")
    written = run.summary().jobs[0].rows_written
    assert 0 < written < 40_000
    ballast.unlink()
    if not odd.alive:
        odd.restart()
    assert len(rows_of(pair.target)) == written
    assert run.copy("copy").rows_written == 40_000
    assert run.check("copy").rows_different == 0
    assert rows_of(pair.target) == before
    pair.target.execute("DROP TABLE t")


GALERA = "/usr/lib/galera/libgalera_smm.so"
"""Comes with Debian's MariaDB."""
STATE = "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_state_uuid'"


def cluster_node() -> MariaDBServer:
    """The first node of a cluster of its own."""
    port = free_port()
    return MariaDBServer(
        {
            "wsrep_on": 1,
            "wsrep_provider": GALERA,
            "wsrep_cluster_address": "gcomm://",
            "wsrep_node_address": "127.0.0.1",
            "wsrep_provider_options": f"base_port={port};"
            f"gmcast.listen_addr=tcp://127.0.0.1:{port};gcache.size=1M",
            "binlog_format": "ROW",
            "innodb_autoinc_lock_mode": 2,
        }
    )


def test_a_table_on_another_node_of_its_cluster_is_no_target(tmp_path: Path) -> None:
    """A purge on the one node would delete on the other, too. The second is told that it is one."""
    with cluster_node() as one, cluster_node() as other:
        pair = Pair(tmp_path, MySQLDatabase(one, "shop"), MySQLDatabase(other, "shop"))
        for server in (one, other):
            server.run(
                "CREATE DATABASE shop",
                "CREATE TABLE shop.t (id int PRIMARY KEY)",
                "INSERT INTO shop.t VALUES (1)",
            )
        pair.write(pair.job(purge="system"))
        pair.open().plan("copy")
        [(_, state)] = one.run(STATE)
        other.kill()
        (other.folder / "data" / "grastate.dat").write_text(
            f"# GALERA saved state\nversion: 2.1\nuuid: {state}\nseqno: 9\nsafe_to_bootstrap: 1\n"
        )
        other.restart()
        assert other.run(STATE) == [("wsrep_cluster_state_uuid", state)]
        with pytest.raises(Refused, match="is its own target"):
            pair.open(new=True).plan("copy")
