"""What becomes of values that the target's type does not hold."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.errors import BadValue, ConfigError, Mismatch
from dsp_airflow.engine.model import KeyRange, LossCount
from dsp_airflow.engine.plan import plan_job
from tests.engine.harness import Bench
from tests.servers import Database, fresh_database

Db = Bench[Database]
Pair = tuple[str, str, list[str], list[str], list[str]]

PAIRS: list[Pair] = [
    # source, target, values that fit, values that do not, the nearest ones (if there are any)
    (
        "numeric(12,4)",
        "numeric(8,2)",
        ["1.2300", "NaN", "-999999.99"],
        ["1.2345", "99999999"],
        ["1.23", "999999.99"],
    ),
    (
        "numeric",
        "numeric(3,-1)",
        ["10", "9990"],
        ["Infinity", "-10006", "15"],
        ["9990", "-9990", "20"],
    ),
    (
        "numeric",
        "integer",
        ["1.0", "-2147483648"],
        ["1.5", "1e30", "-Infinity"],
        ["2", "2147483647", "-2147483648"],
    ),
    (
        "bigint",
        "integer",
        ["2147483647"],
        ["2147483648", "-9223372036854775808"],
        ["2147483647", "-2147483648"],
    ),
    ("integer", "smallint", ["-32768"], ["32768"], ["32767"]),
    (
        "bigint",
        "double precision",
        ["9007199254740992", "1152921504606846976"],
        ["9007199254740993", "9223372036854775807"],
        ["9007199254740992", "9.223372036854776e+18"],
    ),
    (
        "double precision",
        "real",
        ["0.5", "NaN", "-Infinity", "-0"],
        ["0.1", "1e300", "-1e-300"],
        ["0.1", "3.4028235e+38", "0"],
    ),
    (
        "double precision",
        "integer",
        ["5"],
        ["0.4", "1e300", "-Infinity"],
        ["0", "2147483647", "-2147483648"],
    ),
    (
        "double precision",
        "numeric(9,3)",
        ["0.125", "NaN", "0.1"],
        ["0.1234", "-Infinity", "1e9"],
        ["0.123", "-999999.999", "999999.999"],
    ),
    (
        "numeric",
        "double precision",
        ["0.1", "NaN", "Infinity", "1e308"],
        ["1e400", "0.12345678901234567890", "1e-400"],
        ["1.7976931348623157e+308", "0.12345678901234568", "0"],
    ),
    ("text", "varchar(3)", ["abc", "", "a  "], ["abcd", "a   "], ["abc", "a  "]),
    ("text", "char(3)", ["abc", ""], ["abcd", "a "], ["abc", "a  "]),
    (
        "timestamp",
        "timestamp(3)",
        ["2020-01-01 00:00:00.123", "infinity"],
        ["2020-01-01 00:00:00.123456"],
        ["2020-01-01 00:00:00.123"],
    ),
    (
        "timestamptz",
        "date",
        ["2020-01-01 00:00+00", "-infinity"],
        ["2020-01-01 10:00+00"],
        ["2020-01-01"],
    ),
    ("time", "time(0)", ["12:00:01"], ["12:00:01.4"], ["12:00:01"]),
    (
        "date",
        "timestamp",
        ["infinity", "4713-01-01 BC"],
        ["5874897-12-31"],
        ["294276-12-31 00:00:00"],
    ),
    (
        "text",
        "integer",
        ["0", "-7", "2147483647"],
        ["", "007", "1.0", "x", "99999999999999999999", " 1"],
        [],
    ),
    (
        "text",
        "numeric(5,2)",
        ["1.25", "NaN", "-999.99"],
        ["1.250", "1e2", "1000.00", "Infinity"],
        [],
    ),
    (
        "text",
        "double precision",
        ["0.1", "1e+300", "-0", "NaN", "Infinity"],
        ["1e400", "0.10", "x", "1e-999"],
        [],
    ),
    (
        "text",
        "uuid",
        ["00000000-0000-0000-0000-00000000000a"],
        ["00000000-0000-0000-0000-00000000000A", "x", "{}"],
        [],
    ),
    ("text", "boolean", ["true", "false"], ["t", "1", ""], []),
    ("text", "mood", ["sad", "ok"], ["SAD", "", "glad"], []),
    ("integer", "boolean", ["0", "1"], ["2", "-1"], []),
    ("bit varying", "bit varying(3)", ["", "101"], ["1010"], []),
    ("interval", "interval(0)", ["1 mon 1 day 00:00:01"], ["00:00:01.5"], []),
    ("time with time zone", "time(0) with time zone", ["12:00:00+05"], ["12:00:00.5+05"], []),
]

MOOD = "CREATE TYPE mood AS ENUM ('sad', 'ok')"
CLAMPED = [pair for pair in PAIRS if pair[4]]


@pytest.fixture
def pg15_bench(tmp_path: Any, pg15_db: Database, pg15: Any) -> Any:
    """Both databases on PostgreSQL 15, which cannot try a cast without failing."""
    with fresh_database(pg15) as target:
        yield Bench(tmp_path, pg15_db, target)


def tables(bench: Db, pairs: list[Pair]) -> None:
    """A column ``c<n>`` for each pair: first the values that fit, then the others, then NULL."""
    for database in (bench.source, bench.target):
        database.execute(MOOD)
    columns = [f"c{n} {source}" for n, (source, *_) in enumerate(pairs)]
    rows = max(len(fitting + unfit) for _, _, fitting, unfit, _ in pairs) + 1
    bench.source.execute(f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(columns)})")
    for row in range(rows):
        values = [(fitting + unfit)[row : row + 1] for _, _, fitting, unfit, _ in pairs]
        texts = ["NULL" if not v else "'" + v[0] + "'" for v in values]
        bench.source.execute(f"INSERT INTO t VALUES ({row}, {', '.join(texts)})")
    columns = [f"c{n} {target}" for n, (_, target, *_) in enumerate(pairs)]
    bench.target.execute(f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(columns)})")


def mapped(pairs: list[Pair], on_loss: str) -> list[dict[str, Any]]:
    return [{"source": "id"}] + [{"source": f"c{n}", "on_loss": on_loss} for n in range(len(pairs))]


def counted(bench: Db, pairs: list[Pair], on_loss: str) -> None:
    """A run whose counts are those of the values that do not fit, and whose check agrees."""
    tables(bench, pairs)
    columns = mapped(pairs, on_loss)
    bench.write(bench.job(columns=columns, check={"percent": 100}, batch_size=4))
    run = bench.open()
    plan = run.plan("copy")
    assert {(one.fit, one.on_loss) for one in plan.pairs} == {
        ("exact", "error"),
        ("lossy", on_loss),
    }
    (job,) = bench.run().jobs
    assert (job.rows_different, job.rows_checked) == (0, job.rows_total)
    counts = [
        LossCount(f"c{n}", on_loss, len(unfit)) for n, (_, _, _, unfit, _) in enumerate(pairs)
    ]
    assert sorted(job.losses, key=lambda loss: loss.column) == sorted(
        counts, key=lambda loss: loss.column
    )


def standing(bench: Db, n: int) -> list[str | None]:
    return [value for (value,) in bench.target.rows(f"SELECT c{n}::text FROM t ORDER BY id")]


def at(bench: Db, kind: str, values: list[str]) -> list[str | None]:
    """What the target prints of values that are its own."""
    return [bench.target.value(f"SELECT %s::{kind}::text", value) for value in values]


def test_null_takes_the_place_of_what_does_not_fit(pg15_bench: Db) -> None:
    counted(pg15_bench, PAIRS, "null")
    for n, (source, target, fitting, unfit, _) in enumerate(PAIRS):
        end = len(fitting)
        there = standing(pg15_bench, n)
        assert set(there[end:]) == {None}, (source, target)
        kind = f"{source}::{target}"
        assert there[:end] == at(pg15_bench, kind, fitting), (source, target, unfit)


def test_clamp_writes_the_nearest_value(pg15_bench: Db) -> None:
    counted(pg15_bench, CLAMPED, "clamp")
    for n, (source, target, fitting, _, nearest) in enumerate(CLAMPED):
        there = standing(pg15_bench, n)
        expected = at(pg15_bench, f"{source}::{target}", fitting)
        expected += at(pg15_bench, target, nearest)
        assert there[: len(expected)] == expected, (source, target)


def test_an_error_names_the_row_and_tells_no_value(pg15_bench: Db) -> None:
    """Before anything is written: reading the row is what fails."""
    bench = pg15_bench
    tables(bench, PAIRS)
    source, target = bench.store("source"), bench.store("target")
    for n, (_, _, fitting, unfit, _) in enumerate(PAIRS):
        columns = [{"source": "id"}, {"source": f"c{n}"}]
        bench.write(bench.job(columns=columns))
        (job,) = load_task(bench.file).jobs
        assert isinstance(job, WarmJob)
        plan, _ = plan_job(job, source, target, {}, "d", count=False)
        with source.session() as session:
            good = KeyRange(upto=(str(len(fitting) - 1),))
            assert session.digest(plan.source, good).rows == len(fitting)
            for row in range(len(fitting), len(fitting + unfit)):
                message = rf"column c{n} of the row with key {row}: its value does not fit"
                one = KeyRange((str(row - 1),), (str(row),))
                with pytest.raises(BadValue, match=message):
                    session.digest(plan.source, one)


@pytest.mark.parametrize(("source", "target"), [("text", "integer"), ("bit", "bit varying(9)")])
def test_clamp_without_a_nearest_value(pg15_bench: Db, source: str, target: str) -> None:
    if source == "bit":
        source, target = target, source
    lossy(pg15_bench, source, target, ["1"], "clamp")
    with pytest.raises(ConfigError, match="has no nearest value"):
        pg15_bench.open().plan("copy")


def lossy(bench: Db, source: str, target: str, values: list[str], on_loss: str) -> None:
    """One column ``v`` that does not fit."""
    bench.source.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {source})")
    for n, value in enumerate([*values, None]):
        text = "NULL" if value is None else "'" + value + "'"
        bench.source.execute(f"INSERT INTO t VALUES ({n}, {text})")
    bench.target.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {target})")
    columns: list[dict[str, Any]] = [{"source": "id"}, {"source": "v", "on_loss": on_loss}]
    bench.write(bench.job(columns=columns, check={"percent": 100}, batch_size=4))


def test_a_check_finds_what_a_policy_did_not_make(pg15_bench: Db) -> None:
    bench = pg15_bench
    lossy(bench, "text", "varchar(3)", ["abcd", "efgh"], "clamp")
    bench.run()
    run = bench.latest()
    (batch,) = run.runs.batches(run.run.id, "copy")
    assert batch.check_note == "2 values of v are expected as on_loss: clamp made them"
    bench.target.execute("UPDATE t SET v = 'xyz' WHERE id = 1")
    run.runs.reopen(run.run.id, "copy", "check")
    with pytest.raises(Mismatch, match="1 rows differ"):
        run.check("copy")


def test_text_keeps_every_value_as_its_text(pg15_bench: Db) -> None:
    bench = pg15_bench
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v numeric)",
        "INSERT INTO t VALUES (1, 'NaN'), (2, 1.5), (3, 7)",
    )
    columns = [{"source": "id"}, {"source": "v", "type": "int32", "on_loss": "text"}]
    bench.write(bench.job(columns=columns, check={"percent": 100}, purge="system"))
    (job,) = bench.run().jobs
    assert (job.rows_different, job.rows_purged, job.losses) == (0, 3, ())
    assert bench.target.rows("SELECT * FROM t ORDER BY id") == [(1, "NaN"), (2, "1.5"), (3, "7")]


@pytest.mark.parametrize(
    ("target", "on_loss", "message"),
    [
        ("int", "text", "make the target column v text"),
        ("int NOT NULL", "null", "may be NULL"),
        ("date", "null", "cannot be told without trying"),
        ("jsonb", "clamp", "no nearest value"),
    ],
)
def test_policies_that_cannot_be_kept(
    pg15_bench: Db, target: str, on_loss: str, message: str
) -> None:
    lossy(pg15_bench, "text", target, ["1"], on_loss)
    with pytest.raises(ConfigError, match=message):
        pg15_bench.open().plan("copy")


def test_a_lossy_column_is_purged_only_when_its_loss_is_accepted(pg15_bench: Db) -> None:
    bench = pg15_bench
    lossy(bench, "bigint", "int", ["1", "5000000000"], "clamp")
    columns = [{"source": "id"}, {"source": "v", "on_loss": "clamp"}]
    job = bench.job(columns=columns, check={"percent": 100}, purge="system")
    bench.write(job)
    with pytest.raises(Exception, match="accept_loss"):
        bench.open(new=True).plan("copy")
    bench.write(job | {"accept_loss": ["v"]})
    (found,) = bench.run(new=True).jobs
    assert (found.rows_purged, found.rows_kept) == (3, 0)


def test_texts_with_bad_values_are_named_without_them(pg15_bench: Db) -> None:
    """A cast that fails by itself tells no value either."""
    lossy(pg15_bench, "text", "date", ["2020-01-01", "s3cret"], "error")
    with pytest.raises(BadValue, match="date") as caught:
        pg15_bench.run()
    assert "s3cret" not in str(caught.value)


def test_a_composite_of_nulls_is_a_value(pg15_bench: Db) -> None:
    """IS NULL is true of it all the same, and IS NOT NULL false of one that has a NULL."""
    bench = pg15_bench
    bench.source.execute(
        "CREATE TYPE pair AS (x int, y int)",
        "CREATE TABLE t (id int PRIMARY KEY, v pair)",
        "INSERT INTO t VALUES (1, (1, 2)), (2, (NULL, NULL)), (3, NULL), (4, (NULL, 1234567))",
    )
    bench.target.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(9))")
    columns = [{"source": "id"}, {"source": "v", "on_loss": "null"}]
    bench.write(bench.job(columns=columns, check={"percent": 100}))
    (job,) = bench.run().jobs
    there = bench.target.rows("SELECT v FROM t ORDER BY id")
    assert [value for (value,) in there] == ["(1,2)", "(,)", None, None]
    assert job.losses == (LossCount("v", "null", 1),)
