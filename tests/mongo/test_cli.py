"""`dsp run` between two MongoDB, as a person or a script runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.harness import Dsp, job
from tests.cli.warm import Forks
from tests.conftest import NewMongoDatabase
from tests.servers import MongoDatabase


@pytest.fixture
def source(new_mongo_db: NewMongoDatabase) -> MongoDatabase:
    database = new_mongo_db()
    database["orders"].insert_many(
        [{"_id": n, "status": "done" if n < 60 else "open"} for n in range(100)]
    )
    return database


def test_copy_check_and_purge_in_one_go(
    tmp_path: Path, source: MongoDatabase, new_mongo_db: NewMongoDatabase, forks: Forks
) -> None:
    target = new_mongo_db()
    dsp = Dsp(tmp_path, source, target, forks)  # type: ignore[arg-type]
    before = source.raw("orders")
    file = dsp.write(job(table="orders", where={"status": "done"}, batch_size=20, purge="system"))
    done = dsp("run", file, "--json")
    assert done.code == 0, done.err
    assert (done.job["rows_written"], done.job["rows_purged"], done.job["batches"]) == (60, 60, 3)
    assert target.raw("orders") == before[:60]
    assert source.raw("orders") == before[60:]


def test_a_cursor_is_shown_and_set(
    tmp_path: Path, source: MongoDatabase, new_mongo_db: NewMongoDatabase, forks: Forks
) -> None:
    """In extended JSON, or as one writes a number."""
    dsp = Dsp(tmp_path, source, new_mongo_db(), forks)  # type: ignore[arg-type]
    file = dsp.write(job(table="orders", mode="incremental", cursor={"column": "_id"}))
    assert dsp("run", file, "--json").job["rows_written"] == 100
    (found,) = dsp("cursor", file, "--json").document["cursors"]
    assert found["value"] == '{"$numberInt": "99"}'
    (found,) = dsp("cursor", file, "--json", "--set", "95").document["cursors"]
    assert (found["value"], found["run"]) == ('{"$numberLong": "95"}', None)
    assert "_id from " in dsp("plan", file).out
    assert dsp("run", file, "--new", "--json").job["rows_total"] == 5
    wrong = dsp("cursor", file, "--set", "yesterday")
    assert wrong.code == 2
    assert "extended JSON" in wrong.err
