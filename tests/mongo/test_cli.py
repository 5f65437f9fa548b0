"""`dsp run` between two MongoDB, as a person or a script runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.harness import Dsp, job
from tests.cli.warm import Forks
from tests.conftest import NewMongoDatabase
from tests.mongo.gridfs.buckets import Bucket, content
from tests.servers import MongoDatabase
from tests.servers.s3 import S3Server, fresh_bucket


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


FILES = """
name: files
jobs:
  - name: photos
    type: s3
    source: {connection: source, table: fs}
    target: {connection: archive, bucket: BUCKET, prefix: photos, name_mode: newest}
    gridfs: true
    check: {percent: 100}
    purge: system
"""


def test_files_into_s3_and_back(
    tmp_path: Path, new_mongo_db: NewMongoDatabase, moto: S3Server, forks: Forks
) -> None:
    """Archived and purged; looked into; restored by the run."""
    source, place = Bucket(new_mongo_db()), fresh_bucket(moto)
    dsp = Dsp(tmp_path, source.database, source.database, forks)  # type: ignore[arg-type]
    dsp.connections["archive"] = place.airflow_connection
    for n in range(5):
        source.put(content(n * 1000), f"{n // 2}", own=n)
    before = source.raw()
    (tmp_path / "files.yaml").write_text(FILES.replace("BUCKET", place.name))
    done = dsp("run", "files.yaml", "--json")
    assert done.code == 0, done.err
    assert (done.job["rows_written"], done.job["rows_purged"]) == (3, 3)
    assert source.ids() == {0, 2}

    shown = dsp("archive", "show", "latest", "files.yaml")
    assert "an object for each" in shown.out
    verified = dsp("archive", "verify", "files.yaml", "--json")
    assert verified.code == 0, verified.out
    (found,) = verified.document["runs"]
    assert (found["state"], found["recorded"], found["objects"], found["rows"]) == (
        *("right", True, 4, 3),
    )
    asked = "SELECT filename, length FROM archive WHERE object IS NULL ORDER BY 1"
    rows = dsp("archive", "query", asked, "files.yaml", "--json").document["rows"]
    assert rows == [["0", 0], ["1", 2000]]

    back = dsp("restore", "files.yaml", "--run", "latest", "--json")
    assert back.code == 0, back.err
    assert source.raw() == before
