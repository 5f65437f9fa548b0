"""Every type of PostgreSQL between every two versions, value for value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dsp_airflow.engine.errors import Mismatch
from tests.engine import natives
from tests.engine.harness import Bench
from tests.servers import Database, PostgresServer, fresh_database

Db = Bench[Database]
WAYS = [("15", "15"), ("15", "18"), ("18", "15"), ("18", "18")]


def between(
    tmp_path: Path, request: pytest.FixtureRequest, stack: ExitStack, way: tuple[str, str]
) -> Db:
    """A bench over two servers; the extensions are on both, the types in the source."""
    servers: list[PostgresServer] = [request.getfixturevalue(f"pg{version}") for version in way]
    source, target = (stack.enter_context(fresh_database(server)) for server in servers)
    extensions = [f"CREATE EXTENSION {name}" for name in natives.EXTENSIONS]
    source.execute(*extensions, *natives.TYPES)
    target.execute(*extensions, "CREATE SCHEMA app")
    return Bench(tmp_path, source, target)


@pytest.fixture(params=WAYS, ids=["-".join(way) for way in WAYS])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Db]:
    with ExitStack() as stack:
        yield between(tmp_path, request, stack, request.param)


@pytest.fixture(params=WAYS[:2], ids=["-".join(way) for way in WAYS[:2]])
def two_methods(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Db]:
    """One pair for each row hash."""
    with ExitStack() as stack:
        yield between(tmp_path, request, stack, request.param)


def read(database: Database, kinds: list[str]) -> list[tuple[object, ...]]:
    """Every value's own text, and its octets where the type's are the same everywhere."""
    with database.connect() as connection:
        connection.execute("SET extra_float_digits = 3")
        connection.execute("SET IntervalStyle = 'sql_standard'")
        connection.execute("SET lc_monetary = 'C'")
        sends = dict(
            connection.execute(
                "SELECT a.attname, t.typsend::text FROM pg_attribute a "
                "JOIN pg_type t ON t.oid = a.atttypid "
                "JOIN pg_proc p ON p.oid = t.typsend AND p.proargtypes[0] = t.oid WHERE a.attrelid = 't'::regclass "
                "AND t.typtype = 'b' AND t.typelem = 0 AND t.typnamespace = 'pg_catalog'::regnamespace"
            ).fetchall()
        )
        parts = [f"c{n}::text" for n in range(len(kinds))]
        parts += [f"{sends[f'c{n}']}(c{n})" for n in range(len(kinds)) if f"c{n}" in sends]
        return connection.execute(
            f"SELECT id, {', '.join(parts)} FROM t ORDER BY id".encode()
        ).fetchall()


def test_every_type_arrives_as_it_was(pair: Db) -> None:
    """Copied, all of it checked, read by other means, purged."""
    columns = list(natives.COLUMNS)
    if not (xml(pair.source) and xml(pair.target)):
        columns = [(kind, values) for kind, values in columns if "xml" not in kind]
    kinds = [kind for kind, _ in columns]
    pair.source.execute(natives.table(kinds), *natives.rows(columns))
    before = read(pair.source, kinds)
    pair.write(pair.job(check={"percent": 100}, purge="system", batch_size=3))
    (job,) = pair.run().jobs
    assert (job.rows_different, job.rows_kept) == (0, 0)
    assert job.rows_purged == job.rows_written == job.rows_checked == len(before)
    assert pair.source.value("SELECT count(*) FROM t") == 0
    after = read(pair.target, kinds)
    for mine, theirs in zip(before, after, strict=True):
        assert [n for n, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b] == []
    look = (
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert pair.source.rows(look) == pair.target.rows(look)


def xml(database: Database) -> bool:
    """Whether the server was built with it."""
    try:
        database.value("SELECT '<a/>'::xml IS DOCUMENT")
    except Exception:  # noqa: BLE001
        return False
    return True


def test_values_that_look_alike_are_told_apart(two_methods: Db) -> None:
    """Each row holds one of a pair; in the target it is turned into the other."""
    bench = two_methods
    kinds = [kind for kind, _, _ in natives.ALIKE]
    bench.source.execute(
        natives.table(kinds),
        *(
            f"INSERT INTO t (id, c{n}) VALUES ({n}, {natives.literal(one, kind)})"
            for n, (kind, one, _) in enumerate(natives.ALIKE)
        ),
    )
    bench.write(bench.job(check={"percent": 100}))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.target.execute(
        *(
            f"UPDATE t SET c{n} = {natives.literal(other, kind)} WHERE id = {n}"
            for n, (kind, _, other) in enumerate(natives.ALIKE)
        )
    )
    with pytest.raises(Mismatch):
        run.check("copy")
    found = {
        int(one.difference.key[0]): one.difference.columns
        for one in run.runs.differences(run.run.id)
    }
    missed = [natives.ALIKE[n] for n in range(len(kinds)) if found.get(n) != (f"c{n}",)]
    assert missed == []
