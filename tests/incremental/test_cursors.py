"""What moved is copied, whatever tells it: on every system, and into a bucket."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from bson import Int64, ObjectId, Timestamp
from bson.regex import Regex

from dsp_airflow.engine.errors import ConfigError, Mismatch
from tests.incremental.tables import MISSING, Row, Table
from tests.incremental.way import Way
from tests.servers import Database, MongoDatabase, MySQLDatabase

START = datetime(2023, 3, 26, 0, 59, 59, 999_000, tzinfo=UTC)
"""Near the moment in which Berlin leaves an hour out."""
WAYS = ["pg18-pg18", "mariadb-mariadb", "mysql-mysql", "mongo-mongo", "pg18-s3"]
MORE = ["pg15-pg15", "mysql-pg18", "pg18-mysql", "mongo-pg18", "mysql-s3", "mariadb-s3", "mongo-s3"]
every = pytest.mark.parametrize(
    "way", [*WAYS, *(pytest.param(name, marks=pytest.mark.soak) for name in MORE)], indirect=True
)
alone = pytest.mark.parametrize("way", WAYS[:-1], indirect=True)
some = pytest.mark.parametrize("way", ["pg18-s3", "mysql-pg18", "mongo-mongo"], indirect=True)
_versions = itertools.count(1)


def rows(*given: tuple[int, Any]) -> list[Row]:
    """Each with a text that no other version has."""
    return [(number, at, f"version {next(_versions)}") for number, at in given]


def alike(way: Way, name: str = "t") -> bool:
    return way.there(name) == way.table(name).read()


def uuid7(moment: datetime, rest: int = 0) -> UUID:
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | rest)


Values = Callable[[int], Any]
SQL_KINDS: dict[str, tuple[Values, Any]] = {
    "moment": (lambda n: START + n * timedelta(microseconds=1), "5m"),
    "local": (lambda n: START.replace(tzinfo=None) + n * timedelta(microseconds=1), "1h"),
    "date": (lambda n: date(1066, 10, 14) + timedelta(days=n), "2d"),
    "number": (lambda n: n + 2**62, 3),
    "decimal": (lambda n: Decimal(n) / 10_000, 1),
    "double": (lambda n: n / 7 * 1e-7, 0),
    "text": (lambda n: f"{n:05}", 0),
    "uuid": (lambda n: uuid7(START + n * timedelta(milliseconds=1), n), "5m"),
}
BSON_KINDS: dict[str, tuple[Values, Any]] = {
    "moment": (lambda n: START + n * timedelta(milliseconds=1), "5m"),
    "number": (lambda n: [n, Int64(n), float(n), Decimal(n)][n % 4], 3),
    "large": (lambda n: Int64(2**63 - 100 + n), 0),
    "double": (lambda n: n / 7 * 1e-7, 1),
    "text": (lambda n: f"{n:05}", 0),
    "id": (lambda n: ObjectId(f"{1_700_000_000 + n // 10:08x}{n:016x}"), "3s"),
    "timestamp": (lambda n: Timestamp(1_700_000_000 + n // 10, n % 10 + 1), "3s"),
}


def kinds_of(way: Way) -> dict[str, tuple[Values, Any]]:
    if isinstance(way.source, MongoDatabase):
        return BSON_KINDS
    if isinstance(way.source, MySQLDatabase) and way.source.server.product == "MySQL":
        return {name: kind for name, kind in SQL_KINDS.items() if name != "uuid"}
    return SQL_KINDS


@every
def test_cursors_of_every_type(way: Way) -> None:
    """Rows that differ by the least that the type tells apart, in two runs."""
    kinds = {f"of_{kind}": (kind, *more) for kind, more in kinds_of(way).items()}
    for name, (kind, value, _) in kinds.items():
        way.table(name).make(kind).put(rows(*((n, value(n)) for n in range(1, 51))))
    way.write(*(way.moving(name, cursor={"overlap": kinds[name][2]}) for name in kinds))
    assert [job.rows_written for job in way.run().jobs] == [50] * len(kinds)
    stood = {name: way.cursor(name) for name in kinds}
    for name, (_, value, _) in kinds.items():
        moved = [(1, value(60)), *((n, value(n)) for n in range(51, 61))]
        way.table(name).put(rows(*moved))
    for job in way.run(new=True).jobs:
        # What stands on the bound is read again.
        assert 12 <= job.rows_total <= 61, job.name
        assert job.rows_different == 0
        assert alike(way, job.name), job.name
        assert way.cursor(job.name) != stood[job.name]


@every
def test_thousands_of_one_instant(way: Way) -> None:
    """Batches part rows of one instant by their key; one that comes later is not missed."""
    table = way.table().make("moment")
    table.put(rows(*((n, START) for n in range(1, 10_001))))
    way.write(way.moving(batch_size=2_500))
    assert way.again().rows_written == 10_000
    table.put(rows((10_001, START), (5, START)))
    assert way.again().rows_written == 10_001
    assert alike(way)
    # The overlap lets them stand in two archived runs, of which the later has the newer version.
    if way.place is not None:
        assert [len(run) for run in way.archived()] == [10_000, 10_001]


@every
def test_late_commits_and_clocks_that_change(way: Way) -> None:
    """Sessions in other zones, when the hour of summer is left out and when it comes twice."""
    table = way.table().make("moment")
    autumn = datetime(2023, 10, 29, 0, 30, tzinfo=UTC)
    table.put(rows((1, START), (2, START + timedelta(seconds=1))), zone="Europe/Berlin")
    way.write(way.moving(cursor={"overlap": "1h"}))
    assert way.again().rows_written == 2
    table.put(rows((3, autumn), (4, autumn + timedelta(hours=1))), zone="Europe/Berlin")
    with closing(table.begin("Europe/Berlin")) as late:
        late.put(rows((5, autumn + timedelta(minutes=31))))
        assert way.again().rows_total == 4
        late.commit()
    # The clock was put right meanwhile.
    table.put(rows((6, autumn + timedelta(minutes=30)), (2, autumn + timedelta(minutes=40))))
    assert way.again().rows_total == 5
    assert alike(way)


@every
def test_numbers_pass_ten(way: Way) -> None:
    """As numbers they do; as texts they do not, which is noticed before a row is lost."""
    numbers = way.table("numbers").make("number")
    texts = way.table("texts").make("text")
    filled = way.table("filled").make("text")
    names = ("numbers", "texts", "filled")
    numbers.put(rows((1, 8), (2, 9)))
    texts.put(rows((1, "no. 8"), (2, "no. 9")))
    filled.put(rows((1, "08"), (2, "09")))
    way.write(*map(way.moving, names))
    way.run()
    numbers.put(rows((3, 10)))
    filled.put(rows((3, "10")))
    way.run(new=True)
    assert all(alike(way, name) for name in names)
    texts.put(rows((3, "no. 10")))
    with pytest.raises(ConfigError, match=r"'no. 10' and 'no. 9'.*10 before 9"):
        way.run(new=True)
    assert way.cursor("texts") is not None
    assert "no. 9" in str(way.cursor("texts"))


def endless(way: Way) -> list[Any]:
    """What is no point on the way of a cursor of moments."""
    if isinstance(way.source, MongoDatabase):
        return [MISSING, None]
    if way.place is None and type(way.source) is not type(way.target):
        # The other system has neither infinity nor a date of zeros, and refuses the row.
        return [None]
    if isinstance(way.source, MySQLDatabase):
        return [None, "0000-00-00 00:00:00"]
    return [None, "infinity", "-infinity"]


@every
def test_rows_without_a_cursor(way: Way) -> None:
    table = way.table().make("moment")
    table.put(rows((1, START)))
    odd = endless(way)
    table.put(rows(*((n, at) for n, at in enumerate(odd, 2))))
    jobs = {policy: way.moving(cursor={"null_cursor": policy}) for policy in ("include", "exclude")}
    way.write(way.moving())
    with pytest.raises(ConfigError, match=r"whose at is NULL or not finite.*null_cursor"):
        way.again()
    way.write(jobs["exclude"])
    assert way.again().rows_written == 1
    table.put(rows(*((n, at) for n, at in enumerate(odd, 2)), (9, START)))
    assert way.again().rows_total == 2
    assert set(way.there()) == {1, 9}
    way.write(jobs["include"])
    assert way.again().rows_total == 2 + len(odd)
    table.put(rows(*((n, at) for n, at in enumerate(odd, 2))))
    way.again()
    assert alike(way)


@every
def test_a_cursor_does_not_pass_the_clock(way: Way) -> None:
    """A row of the year 9999, or of a clock that is ahead, hides none that comes after it."""
    year = 2037 if isinstance(way.source, MySQLDatabase) else 9999
    table = way.table().make("moment")
    table.put(rows((1, START), (2, datetime(year, 1, 1, tzinfo=UTC))))
    way.write(way.moving(cursor={"overlap": "1h"}))
    run = way.open()
    planned = run.plan("t")
    assert "which the source's clock has not reached" in " ".join(planned.warnings)
    assert way.run().jobs[0].rows_written == 2
    stood = str(way.cursor())
    assert str(datetime.now(UTC).year) in stood
    assert str(year) not in stood
    table.put(rows((3, datetime.now(UTC))))
    assert way.again().rows_total == 2
    assert alike(way)
    # Nor does it go back.
    assert str(way.cursor()) >= stood


@alone
def test_rows_that_come_and_go_in_a_window_raise_no_alarm(way: Way) -> None:
    """One leaves it after the copy, one that an earlier run copied enters it changed."""
    table = way.table().make("moment")
    table.put(rows(*((n, START + timedelta(milliseconds=n)) for n in range(1, 101))))
    cursor = {"null_cursor": "include"}
    way.write(way.moving(cursor=cursor))
    way.again()
    # Of its two batches one is compared, and one is counted: each in its turn.
    for seed, number in ((0, 2), (2, 1)):
        way.write(way.moving(cursor=cursor, batch_size=1, check={"percent": 1, "seed": seed}))
        table.put(rows((7, START + timedelta(seconds=seed + 1))))
        run = way.open(new=True)
        run.plan("t")
        run.copy("t")
        batches = run.runs.batches(run.run.id, "t")
        assert [b.number for b in batches if b.sampled] == [number]
        table.put(rows((7, START + timedelta(seconds=9)), (6, MISSING), (200, MISSING)))
        assert run.check("t").rows_different == 0
        run.finish()
        table.remove(6)
        table.remove(200)
    table.put(rows((5, MISSING)))
    way.write(way.moving(cursor=cursor))
    run = way.open(new=True)
    run.plan("t")
    run.copy("t")
    Table(way.target).put([(5, START, "spoiled")])
    with pytest.raises(Mismatch, match="1 rows differ"):
        run.check("t")
    run.finish()
    way.again()
    assert table.read().items() <= way.there().items()


@some
def test_nothing_there_yet_and_cursors_of_their_own(way: Way) -> None:
    """Each job has a cursor, also on one table."""
    table = way.table().make("moment")
    one = way.moving()
    target = {**one["target"], "prefix": "other"} if way.place else {**one["target"], "table": "u"}
    if way.place is None and isinstance(way.target, Database):
        target["table"] = "public.u"
    two = {**one, "name": "other", "target": target}
    way.write(one, two)
    assert [job.rows_total for job in way.run().jobs] == [0, 0]
    assert (way.cursor(), way.cursor("other")) == (None, None)
    table.put(rows((1, START)))
    way.write(one)
    assert way.again().rows_written == 1
    assert alike(way)
    assert (way.cursor() is None, way.cursor("other")) == (False, None)


@some
def test_a_purge_of_a_run_keeps_what_moved_since(way: Way) -> None:
    table = way.table().make("moment")
    table.put(rows(*((n, START) for n in range(1, 6))))
    way.write(way.moving(purge="manual"))
    assert way.again().rows_written == 5
    table.put(rows((6, START + timedelta(seconds=1)), (7, START + timedelta(seconds=1))))
    assert way.again().rows_total == 7
    run = way.latest()
    table.put(rows((7, START + timedelta(hours=1))))
    found = run.purge("t")
    assert (found.rows_purged, found.rows_kept) == (6, 1)
    # What was purged does not move it back.
    stood = way.cursor()
    assert way.again().rows_total == 1
    assert str(way.cursor()) > str(stood)
    assert set(table.read()) == {7}
    assert len(way.there()) == 7


# What cannot be a cursor


def test_uuids_that_do_not_grow(bench_way: Way) -> None:
    way = bench_way
    random = UUID("f81d4fae-7dec-41d0-a765-00a0c91e6bf6")
    way.table().make("uuid").put(rows((1, uuid7(START)), (2, random)))
    way.write(way.moving())
    with pytest.raises(ConfigError, match=r"no uuid of version 7.*do not grow"):
        way.again()


@pytest.fixture
def bench_way(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Way]:
    from tests.servers import fresh_database

    server = request.getfixturevalue("pg18")
    with fresh_database(server) as source, fresh_database(server) as target:
        yield Way(tmp_path, source, target)


OTHERS: list[tuple[str, Any]] = [
    ("string", "2023-03-26"),
    ("bool", True),
    ("object", {"at": START}),
    ("array", [START]),
    ("timestamp", Timestamp(1, 1)),
    ("regex", Regex("a")),
]


@pytest.mark.parametrize("way", ["mongo-mongo"], indirect=True)
def test_values_of_several_types(way: Way) -> None:
    """Counted and refused, unless the job leaves them out."""
    table = way.table().make("moment")
    table.put(rows((1, START)))
    for number, (_, value) in enumerate(OTHERS[:1] + OTHERS[2:4] + OTHERS[5:], 2):
        table.put(rows((number, value)))
    for policy in ("error", "include", "exclude"):
        way.write(way.moving(cursor={"null_cursor": policy}))
        with pytest.raises(ConfigError, match=r"of several types, .* of type date") as told:
            way.again()
        for kind in ("array", "object", "regex", "string"):
            assert f"1 are of type {kind}" in str(told.value)
    way.write(way.moving(where={"at": {"$type": "date"}, "_id": 1}))
    assert way.again().rows_written == 1


def at_path(way: Way, path: str, value: Any, number: int) -> None:
    """A document that has a field inside of another."""
    outer, inner = path.split(".")
    assert isinstance(way.source, MongoDatabase)
    way.source["t"].insert_one({"_id": number, outer: {inner: value}, "v": str(number)})


@pytest.mark.parametrize("way", ["mongo-mongo"], indirect=True)
def test_a_cursor_inside_of_documents(way: Way) -> None:
    """It is read where it stands; numbers that are none are no numbers."""
    for number, value in enumerate([1, 2.5, math.nan, math.inf, None], 1):
        at_path(way, "meta.moved", value, number)
    column = {"column": "meta.moved"}
    way.write(way.moving(cursor={**column, "null_cursor": "exclude"}))
    assert way.again().rows_written == 2
    assert way.cursor() == '{"$numberDouble": "2.5"}'
    at_path(way, "meta.moved", Int64(10), 6)
    planned = way.open(new=True).plan("t")
    assert any("no index on cursor column meta.moved" in told for told in planned.warnings)
    assert way.run().jobs[0].rows_total == 2
    assert set(way.there()) == {1, 2, 6}
    for wrong in ("meta.0", "$meta", "a..b"):
        way.write(way.moving(cursor={"column": wrong}))
        with pytest.raises(ConfigError, match="no path of fields"):
            way.again()


@pytest.mark.parametrize("way", ["mongo-mongo"], indirect=True)
def test_new_files_of_a_bucket(way: Way) -> None:
    """By the date of their upload."""
    import gridfs

    assert isinstance(way.source, MongoDatabase)
    assert isinstance(way.target, MongoDatabase)
    files = gridfs.GridFSBucket(way.source.database, "fs")
    for number in range(5):
        files.upload_from_stream(f"file {number}", b"x" * 300_000)
    job = way.moving("fs", gridfs=True, cursor={"column": "uploadDate", "overlap": "1s"})
    way.write(job)
    assert way.again().rows_written == 5
    way.source["fs.files"].update_many({}, {"$set": {"uploadDate": START}})
    way.write(job)
    (state,) = [way.cursor("fs")]
    assert state is not None
    files.upload_from_stream("new", b"y" * 300_000)
    assert way.again().rows_total == 1
    assert way.target["fs.files"].count_documents({}) == 6
    chunks = [side["fs.chunks"].count_documents({}) for side in (way.source, way.target)]
    assert chunks[0] == chunks[1]


@pytest.mark.parametrize("way", ["pg18-pg18", "mongo-mongo"], indirect=True)
def test_overlaps_that_do_not_fit(way: Way) -> None:
    for kind, value, overlap, told in (
        ("moment", START, 5, "must be a duration such as 5m"),
        ("number", 5, "5m", "must be a number"),
        ("text", "a", "5m", "must be left out"),
        ("text", "a", 5, "must be left out"),
    ):
        table = Table(way.source, f"t_{kind}")
        if not (table.name in ("t_text",) and overlap == 5):
            table.make(kind).put(rows((1, value)))
        way.write(way.moving(table.name, cursor={"overlap": overlap}))
        with pytest.raises(ConfigError, match=told):
            way.open(new=True).plan(table.name)
