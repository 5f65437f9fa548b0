"""Every type of PostgreSQL in an archive: held to the bit, told apart, and made again from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg.conninfo
import pytest

from dsp_airflow.engine import canon
from dsp_airflow.engine.archive.folder import RunFolder
from dsp_airflow.engine.archive.formats import File
from dsp_airflow.engine.archive.manifest import Manifest, manifest_from
from dsp_airflow.engine.check import check_batch
from dsp_airflow.engine.errors import BadValue, ConfigError, Denied, Refused
from dsp_airflow.engine.model import Checked, Claim, LogicalType
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.postgres import PostgresStore, dialect, login
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.steps import TaskRun
from tests.conftest import NewDatabase
from tests.engine import natives
from tests.engine.scenes import as_role
from tests.s3.harness import Archives, archives
from tests.s3.values import texts
from tests.servers import Database
from tests.servers.s3 import S3Server, fresh_bucket
from tests.share import share

NAMES = ["parquet", "csv", "jsonl"]
WHOLE: dict[str, Any] = {"check": {"percent": 100}, "purge": "manual"}


@pytest.fixture
def typed(tmp_path: Path, new_pg_db: NewDatabase, moto: S3Server) -> Archives:
    """All types in the source, on each PostgreSQL in turn."""
    source = new_pg_db()
    source.execute(*(f"CREATE EXTENSION {name}" for name in natives.EXTENSIONS), *natives.TYPES)
    return archives(tmp_path, source, fresh_bucket(moto))


def filled(jobs: Archives, **job: Any) -> list[str]:
    """A table of every value of every type; the names of the types."""
    columns = natives.known_to(jobs.source)
    kinds = [kind for kind, _ in columns]
    jobs.source.execute(natives.table(kinds), *natives.rows(columns))
    jobs.write(jobs.job(**{**WHOLE, **job}))
    return kinds


def through(jobs: Archives, name: str = "copy", *, new: bool = False) -> TaskRun:
    """Planned, archived and checked."""
    run = jobs.open(new=new)
    run.plan(name)
    run.copy(name)
    found = run.check(name)
    assert (found.rows_checked, found.rows_different) == (found.rows_total, 0)
    return run


# The values again


def manifest_of(jobs: Archives) -> Manifest:
    ((key, body),) = [(k, v) for k, v in jobs.objects().items() if k.endswith("_manifest.json")]
    return manifest_from(body, key)


def files(jobs: Archives, manifest: Manifest) -> Iterator[File]:
    objects = jobs.objects()
    for batch in manifest.batches:
        for stored in batch.objects:
            path = jobs.folder / "object"
            path.write_bytes(objects[stored.key])
            yield File(
                path,
                stored.key,
                manifest.file_format,
                manifest.compression,
                manifest.forms(),
                stored.largest,
            )


def restored(jobs: Archives, there: Database) -> None:
    """By nothing but the manifest, the files and COPY, as anybody could."""
    manifest = manifest_of(jobs)
    kinds = [column.type for column in manifest.columns]
    names = ", ".join(dialect.quote(column.name) for column in manifest.columns)
    there.execute(*manifest.ddl)
    with there.connect() as connection:
        connection.execute(login.settings(SessionOptions()).encode())
        copy_in = f"COPY t ({names}) FROM STDIN (FORMAT csv)"
        for file in files(jobs, manifest):
            with connection.cursor().copy(copy_in.encode()) as copy:
                for row in texts(file, range(len(kinds))):
                    own = [
                        "" if text is None else _cell(dialect.own_text(text, kind))
                        for text, kind in zip(row, kinds, strict=True)
                    ]
                    copy.write(",".join(own) + "\n")


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize("name", NAMES)
def test_every_type_is_archived_and_made_again(
    typed: Archives, new_pg_db: NewDatabase, name: str
) -> None:
    kinds = filled(typed, batch_size=3, target={"format": name})
    # Without a length it keeps blanks at the end, which mean nothing, and which no text tells.
    blanks = f"c{kinds.index('bpchar')}"
    typed.source.execute(f"UPDATE t SET {blanks} = {blanks}::text")
    before = natives.read(typed.source, kinds)
    run = through(typed)
    there = typed.target = new_pg_db()
    restored(typed, there)
    alike(typed.source, there, before, kinds)

    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (len(before), 0)
    assert typed.source.value("SELECT count(*) FROM t") == 0
    assert typed.restore().rows_checked == len(before)
    there.execute("DROP TABLE t")
    assert typed.restore(connection="target").rows_checked == len(before)
    alike(typed.source, there, before, kinds)
    alike(there, typed.source, before, kinds)


def alike(one: Database, other: Database, rows: list[Any], kinds: list[str]) -> None:
    """The other has these rows, in columns of the same types."""
    assert natives.kinds_of(other) == natives.kinds_of(one)
    for mine, theirs in zip(rows, natives.read(other, kinds), strict=True):
        assert [n for n, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b] == []


def test_own_text_is_what_the_server_prints(typed: Archives) -> None:
    """By which keys are found again; and as a literal it is the value."""
    kinds = filled(typed)
    fields = typed.open().plan("copy").source.fields[1:]
    wrong = []
    with typed.source.connect() as connection:
        connection.execute(login.settings(SessionOptions()).encode())
        for field, native in zip(fields, kinds, strict=True):
            canonical = canon.postgres_text(field.expression, field.type, field.native)
            rows = connection.execute(
                f"SELECT {canonical}, {field.column}::text FROM t".encode()
            ).fetchall()
            for text, printed in rows:
                if text is None:
                    continue
                own = dialect.own_text(text, field.type)
                given = f"{dialect.text_literal(own)}::{native}"
                again = connection.execute(
                    f"SELECT {canonical} "
                    f"FROM (SELECT 0 AS id, {given} AS {field.column}) AS s".encode()
                ).fetchone()
                # The server prints arrays of XML without declarations, of char(n) with all blanks.
                odd = native in ("xml[]", "character(3)[]")
                if again != (text,) or (own != printed and not odd):
                    wrong.append((native, printed, own, again))
    assert wrong == []


@pytest.mark.parametrize(
    ("months", "days", "micros"),
    [
        *((0, 0, 0), (1, 1, 1_000_000), (-1, 1, 1), (1, -1, 1), (-13, 0, 3_600_000_000)),
        *((12, -30, -1), (0, -1, 5), (-25, 3, -86_400_000_000), (1, 0, -1), (0, 0, -1)),
        # The largest of all three is infinity, or the smallest.
        *((2**31 - 1, 2**31 - 1, 2**63 - 2), (-(2**31), -(2**31), 1 - 2**63)),
        *((0, 0, 2**63 - 1), (0, 0, -(2**63)), (7, 0, -(2**63))),
    ],
)
def test_intervals_as_the_server_prints_them(
    pg_db: Database, months: int, days: int, micros: int
) -> None:
    text = f"{months}/{days}/{micros}"
    own = dialect.own_text(text, LogicalType("duration"))
    canonical = canon.postgres_text("i", LogicalType("duration"), "interval")
    ((again, printed),) = pg_db.rows(
        f"SELECT {canonical}, i::text FROM (SELECT '{own}'::interval AS i) AS s"
    )
    assert again == text
    # It reads no clock of so many hours.
    assert own == printed or micros == -(2**63)


# What is told apart


def verdicts(jobs: Archives, mine: TaskRun, theirs: TaskRun, name: str = "copy") -> list[Checked]:
    """What the check of one run says when the objects of another lie in their place."""
    ledger, other = (SqlLedger(run.database, run.run.id, name) for run in (mine, theirs))
    plan = ledger.plan()
    archive: Any = jobs.store("archive")
    assert plan is not None
    folder = RunFolder(archive, plan, ledger.run, dialect)
    found = []
    with jobs.store("source").session() as source:
        for record, instead in zip(ledger.records(), other.records(), strict=True):
            assert record.copied is not None
            assert instead.copied is not None
            copied = replace(record.copied, objects=instead.copied.objects)
            claim = Claim(record.batch, "test", 1, copied)
            with folder.witness(claim) as witness:
                found.append(check_batch(plan, source, witness, claim))
    return found


def told_apart(jobs: Archives, there: list[str], back: list[str]) -> None:
    """Row n is changed in column ``c<n>`` alone: by the archive, then by the source."""
    one = through(jobs)
    jobs.source.execute(*there)
    two = through(jobs, new=True)
    jobs.source.execute(*back)
    (found,) = verdicts(jobs, one, two)
    assert found.different == len(there)
    wanted = {(str(n),): (f"c{n}",) for n in range(len(there))}
    assert {d.key: d.columns for d in found.differences} == wanted
    jobs.source.execute(*there)
    done = one.purge("copy")
    assert (done.rows_purged, done.rows_kept) == (0, len(there))
    kept = [d.difference for d in one.runs.differences(one.run.id)]
    assert {d.key: d.columns for d in kept} == wanted
    assert {d.reason for d in kept} == {"changed in the source since the copy"}


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_any_column_is_found(typed: Archives, name: str) -> None:
    columns = natives.known_to(typed.source)
    firsts = ", ".join(natives.literal(values[0], kind) for kind, values in columns)
    typed.source.execute(
        natives.table([kind for kind, _ in columns]),
        f"INSERT INTO t SELECT n, {firsts} FROM generate_series(0, {len(columns) - 1}) n",
    )
    typed.write(typed.job(**WHOLE, target={"format": name}))
    changes = "UPDATE t SET c{n} = {value} WHERE id = {n}"
    there, back = [], []
    for n, (kind, values) in enumerate(columns):
        last = natives.literal(values[-1], kind) if len(values) > 1 else "NULL"
        there.append(changes.format(n=n, value=last))
        back.append(changes.format(n=n, value=natives.literal(values[0], kind)))
    told_apart(typed, there, back)


@pytest.mark.parametrize("name", NAMES)
def test_values_that_look_alike_are_told_apart(typed: Archives, name: str) -> None:
    kinds = [kind for kind, _, _ in natives.ALIKE]
    alike = [
        (n, natives.literal(one, kind), natives.literal(other, kind))
        for n, (kind, one, other) in enumerate(natives.ALIKE)
    ]
    typed.source.execute(
        natives.table(kinds),
        *(f"INSERT INTO t (id, c{n}) VALUES ({n}, {one})" for n, one, _ in alike),
    )
    typed.write(typed.job(**WHOLE, target={"format": name}))
    told_apart(
        typed,
        [f"UPDATE t SET c{n} = {other} WHERE id = {n}" for n, _, other in alike],
        [f"UPDATE t SET c{n} = {one} WHERE id = {n}" for n, one, _ in alike],
    )


# Keys


@pytest.mark.share
def test_keys_of_every_type(typed: Archives) -> None:
    """Rows are found by them: in what a check tells, and in a purge."""
    for n, (kind, _) in list(enumerate(natives.KEYS))[:: share(1, 5)]:
        name = f"k{n}"
        typed.source.execute(*natives.key_table(n))
        target = {"prefix": name, "format": NAMES[n % 3]}
        job = typed.job(name, f"public.{name}", batch_size=10, **WHOLE, target=target)
        # A task of its own: before a purge all jobs of a task are looked at.
        typed.write(job, name=name)
        there, back = (
            f"UPDATE {name} SET v = -1 WHERE v = 9",
            f"UPDATE {name} SET v = 9 WHERE v < 0",
        )
        one = through(typed, name)
        typed.source.execute(there)
        two = typed.open(new=True)
        two.plan(name)
        two.copy(name)
        typed.source.execute(back)
        own = ", ".join(f"{column}::text" for column in ("k", "k2", "k3")[: 1 + kind.count(", k")])
        (key,) = typed.source.rows(f"SELECT {own} FROM {name} WHERE v = 9")
        found = [d for batch in verdicts(typed, one, two, name) for d in batch.differences]
        assert [(d.key, d.columns) for d in found] == [(key, ("v",))], kind
        typed.source.execute(there)
        done = one.purge(name)
        assert (done.rows_purged, done.rows_kept) == (19, 1), kind
        assert typed.source.rows(f"SELECT v FROM {name}") == [(-1,)], kind


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("hstore", "no operator <= of its type public.hstore"),
        ("hidden.citext", "put the schema of the type on the search path"),
        ("regclass", "map it as text, such as CAST"),
        ("character(3)[]", r"k is character\(3\)\[\], .* name other unique columns"),
        ("letters", "k is public.letters, .* name other unique columns"),
    ],
)
def test_keys_that_cannot_be_trusted(one: Archives, kind: str, message: str) -> None:
    one.source.execute(
        "CREATE SCHEMA hidden",
        "CREATE EXTENSION hstore",
        "CREATE EXTENSION citext SCHEMA hidden",
        "CREATE DOMAIN letters AS character(2)[]",
        f"CREATE TABLE t (k {kind} PRIMARY KEY)",
    )
    one.write(one.job(**WHOLE))
    with pytest.raises(ConfigError, match=message):
        one.run()
    assert one.objects() == {}


# What is refused


@pytest.mark.parametrize("kind", ["regclass", "regtype[]", "aclitem"])
def test_numbers_of_one_database_are_refused(one: Archives, kind: str) -> None:
    one.source.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, c {kind})")
    one.write(one.job(**WHOLE))
    with pytest.raises(ConfigError, match=r"c .* map it as text, such as CAST\(x AS text\)"):
        one.run()
    assert one.objects() == {}


@pytest.mark.parametrize("percent", [0, 100])
@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [("seg", "1.5", "1.2345678"), ('"char"', "a", "\\200"), ("pack", "(1.5)", "(1.2345678)")],
)
def test_values_whose_text_is_not_all_of_them(
    one: Archives, percent: int, kind: str, good: str, bad: str
) -> None:
    """Whether the source is digested or only read."""
    one.source.execute(
        "CREATE EXTENSION seg",
        "CREATE TYPE pack AS (s seg)",
        f"CREATE TABLE t (id bigint PRIMARY KEY, v {kind})",
        f"INSERT INTO t VALUES (1, '{good}'), (2, NULL), (3, '{bad}')",
    )
    check: dict[str, Any] = {"check": {"percent": percent}} if percent else {}
    one.write(one.job(**check, purge="none"))
    with pytest.raises(BadValue, match="column v of the row with key 3"):
        one.run()
    assert one.batches() == []


MOOD = "CREATE TYPE mood AS ENUM ('a', 'b')"
PACK = "CREATE TYPE pack AS (a int)"
SHORT = "CREATE DOMAIN short AS text CONSTRAINT s CHECK (length(VALUE) < 5)"


@pytest.mark.parametrize(
    ("made", "kind", "value", "change"),
    [
        (MOOD, "mood", "'a'", "ALTER TYPE mood ADD VALUE 'c'"),
        (PACK, "pack[]", "'{(1)}'", "ALTER TYPE pack ADD ATTRIBUTE b int CASCADE"),
        (SHORT, "short", "'a'", "ALTER DOMAIN short DROP CONSTRAINT s"),
    ],
)
def test_a_type_that_is_altered_while_it_is_archived(
    one: Archives, made: str, kind: str, value: str, change: str
) -> None:
    """The manifest would create the one that was planned."""
    one.source.execute(
        made,
        f"CREATE TABLE t (id bigint PRIMARY KEY, v {kind})",
        f"INSERT INTO t SELECT n, {value} FROM generate_series(1, 3) n",
    )
    one.write(one.job(**WHOLE))
    run = one.open()
    run.plan("copy")
    one.source.execute(change)
    with pytest.raises(Refused, match="the type of v was altered"):
        run.copy("copy")
    assert one.batches() == []
    through(one, new=True)


def test_a_type_that_is_altered_between_two_batches(
    one: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.source.execute(
        MOOD,
        "CREATE TABLE t (id bigint PRIMARY KEY, v mood)",
        "INSERT INTO t SELECT n, 'a' FROM generate_series(1, 3) n",
    )
    one.write(one.job(**WHOLE, batch_size=2))
    run = one.open()
    run.plan("copy")
    put = RunFolder.put

    def altering(self: RunFolder, claim: Claim, *rest: Any) -> Any:
        if claim.batch.number == 2:
            one.source.execute("ALTER TYPE mood ADD VALUE 'c'", "UPDATE t SET v = 'c' WHERE id = 3")
        return put(self, claim, *rest)

    monkeypatch.setattr(RunFolder, "put", altering)
    with pytest.raises(Refused, match="the type of v was altered"):
        run.copy("copy")
    assert not [key for key in one.objects() if key.endswith("_manifest.json")]


def test_a_key_that_sorts_otherwise_than_planned(one: Archives) -> None:
    """The batches of one order leave out rows that stand beyond them in another."""
    one.source.execute(
        "CREATE TYPE letter AS ENUM ('d', 'e', 'f')",
        "CREATE TABLE t (id letter PRIMARY KEY)",
        "INSERT INTO t VALUES ('d'), ('e'), ('f')",
    )
    one.write(one.job(**WHOLE, batch_size=2))
    run = one.open()
    run.plan("copy")
    one.source.execute("ALTER TYPE letter ADD VALUE 'c' BEFORE 'd'")
    with pytest.raises(Refused, match="sorts its key otherwise"):
        run.copy("copy")


def test_rows_that_a_policy_hides_make_no_archive(one: Archives) -> None:
    one.source.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY)",
        "INSERT INTO t SELECT generate_series(1, 10)",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON t USING (id < 5)",
    )
    one.write(one.job(check={"percent": 100}, purge="none"))
    with as_role(one, "GRANT SELECT ON t TO hunter"):
        with pytest.raises(Denied, match="BYPASSRLS"):
            one.open().plan("copy")
        assert one.objects() == {}
        one.source.execute("ALTER ROLE hunter BYPASSRLS")
        through(one, new=True)
    assert one.manifest()["rows"] == 10


def test_everything_that_a_table_needs_is_created(one: Archives, new_pg_db: NewDatabase) -> None:
    """Schemas, extensions where they were, and types made of types, in a database of nothing."""
    one.source.execute(
        'CREATE SCHEMA "Ext s"',
        'CREATE SCHEMA "a.b"',
        'CREATE EXTENSION hstore SCHEMA "Ext s"',
        'CREATE EXTENSION citext SCHEMA "Ext s"',
        "CREATE TYPE \"a.b\".mood AS ENUM ('$dsp$', 'it''s')",
        'CREATE DOMAIN tags AS "Ext s".hstore CHECK (VALUE IS NOT NULL)',
        'CREATE TYPE "a.b"."p ck" AS (t tags, m "a.b".mood[])',
        'CREATE TYPE "a.b".spans AS RANGE (subtype = "Ext s".citext)',
        'CREATE TABLE "a.b".t (id bigint PRIMARY KEY, p "a.b"."p ck"[], s "a.b".spans, '
        'n int DEFAULT 7, c "Ext s".citext NOT NULL)',
        "INSERT INTO \"a.b\".t VALUES (1, '{\"(a=>1,\\\"{$dsp$}\\\")\"}', '[a,B]', 3, 'C')",
    )
    one.write(one.job(table='"a.b".t', **WHOLE))
    through(one)
    there = new_pg_db()
    manifest = manifest_of(one)
    # Twice: what is there already is no error, the table aside.
    there.execute(*manifest.ddl[:-1])
    there.execute(*manifest.ddl)
    shapes = []
    for database in (one.source, there):
        store = PostgresStore("x", psycopg.conninfo.conninfo_to_dict(database.uri))
        with store.session() as session:
            shapes.append(session.describe('"a.b".t'))
    assert shapes[0] == shapes[1]
