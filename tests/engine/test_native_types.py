"""Every type of PostgreSQL between every two versions, value for value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dsp_airflow.engine.errors import BadValue, ConfigError, Mismatch
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


def test_every_type_arrives_as_it_was(pair: Db) -> None:
    """Copied, all of it checked, read by other means, purged."""
    columns = min(natives.known_to(pair.source), natives.known_to(pair.target), key=len)
    kinds = [kind for kind, _ in columns]
    pair.source.execute(natives.table(kinds), *natives.rows(columns))
    before = natives.read(pair.source, kinds)
    pair.write(pair.job(check={"percent": 100}, purge="system", batch_size=3))
    (job,) = pair.run().jobs
    assert (job.rows_different, job.rows_kept) == (0, 0)
    assert job.rows_purged == job.rows_written == job.rows_checked == len(before)
    assert pair.source.value("SELECT count(*) FROM t") == 0
    after = natives.read(pair.target, kinds)
    for mine, theirs in zip(before, after, strict=True):
        assert [n for n, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b] == []
    assert natives.kinds_of(pair.source) == natives.kinds_of(pair.target)


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


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("numeric", "1.0", "1.00"),
        ("numeric[]", "{1.0,NULL,NaN}", "{1.00,NULL,NaN}"),
        ("jsonb", '{"a": 1.0}', '{"a": 1.00}'),
        ("json", '{"b":1, "a": 2, "b": 3}', '{"a":2e0,"b":3}'),
        ("json[]", '{"{}",NULL}', '{" { }",NULL}'),
    ],
)
def test_another_spelling_of_a_value_is_no_difference(
    two_methods: Db, kind: str, one: str, other: str
) -> None:
    """The copy keeps the spelling; a check takes the value; a purge only what is the same."""
    bench = two_methods
    bench.source.execute(natives.table([kind]), f"INSERT INTO t VALUES (1, '{one}'), (2, NULL)")
    bench.write(bench.job(check={"percent": 100}, purge="manual"))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    look = "SELECT c0::text FROM t WHERE id = 1"
    assert bench.target.value(look) == bench.source.value(look)
    bench.target.execute(f"UPDATE t SET c0 = '{other}' WHERE id = 1")
    assert run.check("copy").rows_different == 0
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (1, 1)
    (kept,) = run.runs.differences(run.run.id)
    assert "spells the same value differently" in kept.difference.reason


@pytest.mark.parametrize(
    ("column", "there", "message"),
    [
        ("v hstore", "", 'v needs public.hstore.*CREATE EXTENSION "hstore"'),
        ("v app.mood", "", "create schema 'app'"),
        ("v app.mood", "CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('x')", "other labels"),
        ("v app.point3", "CREATE SCHEMA app; CREATE TYPE app.point3 AS (x int)", "other labels or"),
        ("v app.checked", "CREATE SCHEMA app", "CREATE DOMAIN app.checked AS text CONSTRAINT"),
        ("v regclass", "CREATE SCHEMA app", "map it as text"),
    ],
)
def test_types_that_the_target_lacks(
    pg15_db: Database, pg18_db: Database, tmp_path: Path, column: str, there: str, message: str
) -> None:
    bench = Bench(tmp_path, pg15_db, pg18_db)
    pg15_db.execute(
        *(f"CREATE EXTENSION {name}" for name in natives.EXTENSIONS),
        *natives.TYPES,
        "CREATE FUNCTION app.good(text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
        "CREATE DOMAIN app.checked AS text CHECK (app.good(VALUE))",
        f"CREATE TABLE t (id int PRIMARY KEY, {column})",
    )
    if there:
        pg18_db.execute(there)
    bench.write(bench.job())
    with pytest.raises(ConfigError, match=message):
        bench.open().plan("copy")


def test_an_extension_may_live_in_another_schema(
    pg15_db: Database, pg18_db: Database, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, pg15_db, pg18_db)
    pg15_db.execute(
        "CREATE EXTENSION hstore",
        "CREATE TYPE pack AS (h hstore)",
        "CREATE TABLE t (id int PRIMARY KEY, h hstore, hs hstore[], p pack)",
        "INSERT INTO t VALUES (1, 'a=>1', ARRAY['b=>NULL'::hstore], ROW('c=>2'::hstore))",
    )
    pg18_db.execute('CREATE SCHEMA "Ext"', 'CREATE EXTENSION hstore SCHEMA "Ext"')
    bench.write(bench.job(check={"percent": 100}, purge="system"))
    (job,) = bench.run().jobs
    assert (job.rows_different, job.rows_purged) == (0, 1)
    assert pg18_db.rows("SELECT h::text, hs[1]::text, (p).h::text FROM t") == [
        ('"a"=>"1"', '"b"=>NULL', '"c"=>"2"')
    ]


def test_an_array_that_others_wrote_with_non_ascii_char(
    pg15_db: Database, pg18_db: Database, tmp_path: Path
) -> None:
    """Servers print such octets of "char" differently, so that none of them travels."""
    bench = Bench(tmp_path, pg18_db, pg15_db)
    pg18_db.execute(
        'CREATE TABLE t (id int PRIMARY KEY, v "char")',
        "INSERT INTO t VALUES (1, 'a'), (2, '\\200'), (3, NULL)",
    )
    bench.write(bench.job())
    with pytest.raises(BadValue, match="column v of the row with key 2"):
        bench.run()
    assert pg15_db.value("SELECT count(*) FROM t") == 0


@pytest.mark.parametrize(
    ("kind", "there", "good", "short"),
    [
        ("seg", "seg", "1.5", "1.2345678"),
        ("seg", "text", "1.5", "1.2345678"),
        ("seg[]", "seg[]", "{1.50,NULL}", "{1.2345678}"),
        ("app.length", "seg", "2", "1.2345678"),
        ("app.measured", "app.measured", "(1.5,)", "(1.2345678,2)"),
    ],
)
def test_digits_that_no_text_tells_stay_where_they_are(
    bench: Bench[Database], kind: str, there: str, good: str, short: str
) -> None:
    """seg prints six digits and holds more: its copy would be another value."""
    for database in (bench.source, bench.target):
        database.execute(
            "CREATE EXTENSION seg",
            "CREATE SCHEMA app",
            "CREATE DOMAIN app.length AS seg",
            "CREATE TYPE app.measured AS (s seg, n int)",
        )
    bench.target.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {there})")
    bench.source.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, v {kind})",
        f"INSERT INTO t VALUES (1, '{good}'), (3, NULL)",
    )
    bench.write(bench.job(check={"percent": 100}, purge="system"))
    (job,) = bench.run().jobs
    assert job.rows_purged == 2
    bench.source.execute(f"INSERT INTO t VALUES (2, '{short}')")
    with pytest.raises(BadValue, match="column v of the row with key 2"):
        bench.run(new=True)
    assert bench.source.value("SELECT count(*) FROM t") == 1


def test_a_declaration_that_no_text_tells_stays_where_it_is(
    pg15_db: Database, pg15: PostgresServer, tmp_path: Path
) -> None:
    """A composite prints its XML without it."""
    with fresh_database(pg15) as target:
        bench = Bench(tmp_path, pg15_db, target)
        pg15_db.execute(
            "CREATE TYPE page AS (x xml, n int)",
            "CREATE TABLE t (id int PRIMARY KEY, v page, vs page[])",
            "INSERT INTO t VALUES (1, ('<a/>', 1), ARRAY[('<b/>', NULL)::page, NULL]), "
            "(2, (NULL, 1), '{}'), (3, NULL, NULL)",
        )
        bench.write(bench.job(check={"percent": 100}, purge="system"))
        (job,) = bench.run().jobs
        assert job.rows_purged == 3
        pg15_db.execute("""INSERT INTO t VALUES (4, ('<?xml version="1.0"?><a/>', 1))""")
        with pytest.raises(BadValue, match="column v of the row with key 4"):
            bench.run(new=True)


def test_a_type_whose_name_looks_like_a_length(bench: Bench[Database]) -> None:
    for database in (bench.source, bench.target):
        database.execute(
            "CREATE TYPE \"mood(5)\" AS ENUM ('sad', 'ok')",
            "CREATE TYPE mood AS ENUM ('ok', 'sad')",
            'CREATE TABLE t (id "mood(5)" PRIMARY KEY)',
        )
    bench.source.execute("INSERT INTO t VALUES ('sad'), ('ok')")
    bench.write(bench.job(batch_size=1, check={"percent": 100}, purge="system"))
    (job,) = bench.run().jobs
    assert job.rows_purged == 2
