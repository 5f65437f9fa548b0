"""What incremental runs leave in a bucket: a folder each, and the newest version in the latest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.archive.listing import find, manifest_at, place_of
from dsp_airflow.engine.archive.query import Selected, opened
from tests.incremental.tables import Table
from tests.incremental.test_cursors import START, alike, rows
from tests.incremental.way import Way
from tests.servers import Database, fresh_database

NEWEST = (
    "SELECT * FROM archive QUALIFY row_number() OVER (PARTITION BY id ORDER BY __dsp_run DESC) = 1"
)


def queried(way: Way, sql: str) -> dict[int, str]:
    (job,) = load_task(way.file).jobs
    assert isinstance(job, S3Job)
    store: Any = way.store("archive")
    runs = find(place_of(job, "task", store))
    with opened([Selected(at, manifest_at(at)) for at in runs]) as asked:
        schema, batches = asked.answer(sql)
        ids, texts = schema.get_field_index("id"), schema.get_field_index("v")
        found: dict[int, str] = {}
        for batch in batches:
            columns = batch.column(ids).to_pylist(), batch.column(texts).to_pylist()
            found |= dict(zip(*columns, strict=True))
    return found


@pytest.mark.parametrize("way", ["pg18-s3"], indirect=True)
def test_all_runs_together_are_the_table(way: Way) -> None:
    """By a query, and restored one after the other."""
    table = way.table().make("moment")
    table.put(rows(*((n, START + timedelta(seconds=n)) for n in range(1, 21))))
    way.write(way.moving(cursor={"overlap": "3s"}, batch_size=6))
    runs = []
    for number in range(3):
        at = START + timedelta(minutes=number)
        table.put(rows((number + 1, at), (30 + number, at)))
        way.again()
        runs.append(way.latest().run.id)
    assert [len(archived) for archived in way.archived()] == [21, 6, 4]
    assert alike(way)
    assert queried(way, NEWEST) == table.read()
    assert isinstance(way.source, Database)
    with fresh_database(way.source.server) as empty:
        way.target = empty
        for run in runs:
            way.restore(run, connection="target", table="public.t", on_conflict="update")
        assert Table(empty).read() == table.read()


@pytest.mark.parametrize("way", ["mariadb-s3"], indirect=True)
def test_what_a_run_purged_stands_in_no_later_one(way: Way) -> None:
    table = way.table().make("number")
    first = rows(*((n, n) for n in range(1, 21)))
    table.put(first)
    way.write(way.moving(cursor={"overlap": 5}, purge="system"))
    assert way.again().rows_purged == 20
    second = rows((21, 21), (5, 22))
    table.put(second)
    assert way.again().rows_purged == 2
    assert table.read() == {}
    assert [len(archived) for archived in way.archived()] == [20, 2]
    assert way.there() == {n: v for n, _, v in [*first, *second]}
