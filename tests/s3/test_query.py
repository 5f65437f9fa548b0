"""SQL over archived rows: values at their own types, and nothing but reading."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dsp_airflow.engine.archive.listing import find, manifest_at
from dsp_airflow.engine.archive.query import Query, Selected, opened
from dsp_airflow.engine.errors import ConfigError, Mismatch
from tests.engine.scenes import forget_shapes
from tests.s3.harness import Archives
from tests.s3.test_inspect import KEPT, place
from tests.s3.test_path import damage, filled
from tests.s3.test_values import COLUMNS, MOOD

FORMATS = ["parquet", "csv", "jsonl"]


@contextmanager
def queried(jobs: Archives, *numbers: int) -> Iterator[Query]:
    """Over the runs of the task's jobs."""
    runs = [at for number in numbers or (0,) for at in find(place(jobs, number))]
    with opened([Selected(at, manifest_at(at)) for at in runs]) as asked:
        yield asked


def rows(asked: Query, sql: str) -> list[tuple[Any, ...]]:
    schema, batches = asked.answer(sql)
    table = pa.Table.from_batches(list(batches), schema)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def types(asked: Query, table: str = "archive") -> dict[str, str]:
    return {name: kind for name, kind, *_ in rows(asked, f'DESCRIBE FROM "{table}"')}


@pytest.fixture
def one(plain: Archives) -> Archives:
    """A bucket without versions will do."""
    return plain


@pytest.mark.parametrize("name", FORMATS)
def test_values_at_their_own_types(jobs: Archives, name: str) -> None:
    filled(jobs, **KEPT, target={"format": name})
    jobs.run()
    with queried(jobs) as asked:
        assert types(asked) == {
            "id": "BIGINT",
            "name": "VARCHAR",
            "paid": "DECIMAL(12,2)",
            "at": "TIMESTAMP WITH TIME ZONE",
            "__dsp_exact": "VARCHAR",
            "__dsp_run": "VARCHAR",
        }
        query = 'SELECT id, name, paid, "at" FROM {} ORDER BY id'
        source = jobs.source.rows(query.format("t"))
        assert rows(asked, query.format("archive")) == source
        # A view can be read as often as a query likes.
        twice = "SELECT count(*), min(a.__dsp_run) FROM archive a JOIN archive b USING (id)"
        assert rows(asked, twice) == [(100, jobs.latest().run.id)]
        grouped = "SELECT name IS NULL, sum(paid) FROM copy GROUP BY 1 ORDER BY 1"
        assert rows(asked, grouped) == jobs.source.rows(grouped.replace("copy", "t"))


def test_every_format_says_the_same_of_every_type(one: Archives) -> None:
    """Also of values that their column does not hold: they are NULL, and told apart."""
    names = [f"c {n}" for n in range(len(COLUMNS))]
    depth = max(len(values) for *_, values in COLUMNS)
    columns = ", ".join(f'"{n}" {native}' for n, (_, native, _) in zip(names, COLUMNS, strict=True))
    one.source.execute(MOOD, f"CREATE TABLE t (id int PRIMARY KEY, {columns})")
    for n in range(depth + 1):
        cells = [values[n] if n < len(values) else "NULL" for *_, values in COLUMNS]
        one.source.execute(f"INSERT INTO t VALUES ({n}, {', '.join(cells)})")
    one.write(
        *(
            one.job(name, **KEPT, check={"percent": 100}, target={"format": name, "prefix": name})
            for name in FORMATS
        )
    )
    one.run()
    with queried(one, 0, 1, 2) as asked:
        assert types(asked, "csv") == types(asked, "parquet") == types(asked, "jsonl")
        every = {}
        for name in FORMATS:
            listed = ", ".join(f'"{n}"::VARCHAR' for n in names)
            every[name] = rows(asked, f'SELECT id, {listed} FROM "{name}" ORDER BY id')
        for row, other, third in zip(every["parquet"], every["csv"], every["jsonl"], strict=True):
            assert row == other == third
        exact = "SELECT id, unnest(json_keys(__dsp_exact)) AS k FROM {} ORDER BY ALL"
        beyond = rows(asked, exact.format("parquet"))
        assert beyond
        assert rows(asked, exact.format("csv")) == rows(asked, exact.format("jsonl"))
        assert set(beyond) <= set(rows(asked, exact.format("csv")))
        # What is beyond is the source's own text.
        one_value = "SELECT __dsp_exact->>'{}' FROM {} WHERE id = {}"
        for number, column in beyond:
            texts = {rows(asked, one_value.format(column, name, number))[0] for name in FORMATS}
            assert len(texts) == 1


def test_several_runs_and_jobs(one: Archives) -> None:
    filled(one, **KEPT)
    one.source.execute(
        "CREATE TABLE u (k uuid PRIMARY KEY)", "INSERT INTO u VALUES (gen_random_uuid())"
    )
    other = one.job("other-one", "public.u", **KEPT, target={"prefix": "u"})
    one.write(one.job(**KEPT, batch_size=30), other)
    first = one.run().run
    one.source.execute("ALTER TABLE t DROP COLUMN name", "ALTER TABLE t ADD COLUMN more int")
    forget_shapes(one.state)
    second = one.run(new=True).run
    with queried(one) as asked:
        assert list(types(asked))[:4] == ["id", "paid", "at", "more"]
        assert rows(asked, "SELECT __dsp_run, count(name) FROM archive GROUP BY 1 ORDER BY 1") == [
            (first, 86),
            (second, 0),
        ]
    with queried(one, 0, 1) as asked:
        query = 'SELECT (SELECT count(*) FROM copy), (SELECT count(*) FROM "other-one")'
        assert rows(asked, query) == [(200, 2)]
        with pytest.raises(ConfigError, match='There is: "copy", "other-one"'):
            rows(asked, "SELECT * FROM archive")


FORBIDDEN = [
    "INSERT INTO archive VALUES (1)",
    "CREATE TABLE x AS SELECT 1",
    "COPY archive TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "EXPORT DATABASE '{folder}/out'",
    "ATTACH '{folder}/x.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'",
    "DROP VIEW archive",
    "BEGIN",
    "EXPLAIN ANALYZE SELECT 1",
    "",
]
UNREADABLE = [
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM '{folder}/secret.csv'",
    "SELECT * FROM read_text('{folder}/secret.csv')",
    "SELECT * FROM read_blob('{folder}/*')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM parquet_scan('{folder}/x.parquet')",
    "SELECT * FROM read_json('http://127.0.0.1:1/x')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{folder}/out.csv''')",
    "SELECT * FROM folder",
    "SELECT * FROM asked",
]


@pytest.mark.parametrize("sql", [*FORBIDDEN, *UNREADABLE])
def test_it_only_reads_the_archive(one: Archives, sql: str) -> None:
    folder = pa.table({"x": [1]})
    assert folder.num_rows == 1
    (one.folder / "secret.csv").write_text("a\nsecret-in-a-file\n")
    filled(one, rows=1, **KEPT).run()
    before = sorted(one.folder.iterdir())
    with queried(one) as asked:
        with pytest.raises(ConfigError) as told:
            rows(asked, sql.format(folder=one.folder))
        assert "secret-in-a-file" not in str(told.value)
        assert rows(asked, "SELECT count(*) FROM archive") == [(1,)]
    assert sorted(one.folder.iterdir()) == before
    assert not (Path.cwd() / "out.csv").exists()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nam FROM archive", "name"),
        ("SELECT * FROM archiv", "There is: archive"),
        ("SELECT name::int FROM archive WHERE id = 1", r"Conversion Error.*'\.\.\.'"),
    ],
)
def test_errors_in_sql(one: Archives, sql: str, message: str) -> None:
    filled(one, rows=3, **KEPT).run()
    with queried(one) as asked, pytest.raises(ConfigError, match=message) as told:
        rows(asked, sql)
    # Values of the archive stand in no message.
    assert "é1" not in str(told.value)


@pytest.mark.parametrize("how", ["byte", "truncated", "swapped", "deleted"])
def test_what_is_not_as_uploaded_is_not_read(one: Archives, how: str) -> None:
    filled(one, **KEPT).run()
    damage(one, how)
    with queried(one) as asked:
        with pytest.raises(Mismatch, match=r"batch=2.parquet is (not what was uploaded|missing)"):
            rows(asked, "SELECT * FROM archive")
        # What comes before it can be read.
        assert rows(asked, "SELECT id FROM archive LIMIT 1") == [(1,)]


def seen(folder: Path, batches: Iterator[Any]) -> Sequence[int]:
    """Files for each batch of rows that is read."""
    return [len(list(folder.glob("dsp-archive-*"))) for _ in batches]


def test_one_object_lies_here_at_a_time(
    one: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(one, rows=1000, **KEPT).run()
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with queried(one) as asked:
        _, batches = asked.answer("SELECT * FROM archive")
        assert max(seen(folder, batches)) <= 1
        _, batches = asked.answer("SELECT * FROM archive")
        next(batches)
        del batches
    assert list(folder.iterdir()) == []
