"""`dsp restore`, by a run and by a manifest."""

from __future__ import annotations

import pytest

from tests.cli.harness import Dsp
from tests.servers.s3 import Place, S3Server, fresh_bucket

TASK = """
name: old
jobs:
  - name: old
    type: s3
    source: {connection: source, table: public.t}
    target: {connection: archive, bucket: BUCKET, prefix: "a b/é"}
    check: {percent: 100}
    purge: system
    batch_size: 20
"""


@pytest.fixture
def place(dsp: Dsp, moto: S3Server) -> Place:
    """A table of 100 rows, archived and purged."""
    found = fresh_bucket(moto)
    dsp.connections["archive"] = found.airflow_connection
    dsp.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v numeric)",
        "INSERT INTO t SELECT n, n / 4.0 FROM generate_series(1, 100) n",
    )
    (dsp.folder / "old.yaml").write_text(TASK.replace("BUCKET", found.name))
    ran = dsp("run", "old.yaml", "--json")
    assert ran.code == 0, ran.err
    assert dsp.source.value("SELECT count(*) FROM t") == 0
    return found


def address(place: Place) -> str:
    (key,) = [key for key in place.objects() if key.endswith("_manifest.json")]
    return f"s3://{place.name}/{key}"


def test_by_a_run(dsp: Dsp, place: Place) -> None:
    run = dsp("status", "--json").document["runs"][0]["run"]
    done = dsp("restore", "old.yaml", "--run", run, "--batches", "1-2", "--json")
    assert done.code == 0, done.err
    assert done.document["task"] == "old__restore"
    assert (done.job["rows_written"], done.job["rows_checked"]) == (40, 40)
    assert "is not there" not in done.err
    again = dsp(
        "restore", "old.yaml", "--run", "latest", "--where", "v > 24", "--to", "public.part"
    )
    assert again.code == 0, again.err
    assert "old__restore: succeeded" in again.out
    assert dsp.source.rows("SELECT id FROM part ORDER BY id") == [(97,), (98,), (99,), (100,)]
    assert dsp.source.value("SELECT sum(id) FROM t") == 820
    shown = dsp("status", "--task", "old__restore", "--json").document["runs"]
    assert [one["state"] for one in shown] == ["succeeded", "succeeded"]


def test_by_a_manifest(dsp: Dsp, place: Place) -> None:
    dsp.state.unlink()
    done = dsp(
        *("restore", "--manifest", address(place), "--storage", "archive"),
        *("--connection", "target", "--to", "public.t", "--json"),
    )
    assert done.code == 0, done.err
    assert done.job["rows_checked"] == 100
    assert dsp.target.value("SELECT sum(v) FROM t") == 1262.5


def test_rows_that_stand_there(dsp: Dsp, place: Place) -> None:
    dsp.source.execute("INSERT INTO t VALUES (50, -1)")
    refused = dsp("restore", "old.yaml", "--run", "latest")
    assert refused.code == 4
    assert "on_conflict is error" in refused.err
    other = dsp("restore", "old.yaml", "--run", "latest", "--on-conflict", "ignore")
    assert other.code == 4
    assert "start afresh with --new" in other.err
    done = dsp("restore", "old.yaml", "--run", "latest", "--on-conflict", "ignore", "--new")
    assert done.code == 0, done.err
    assert dsp.source.value("SELECT v FROM t WHERE id = 50") == -1
    assert dsp.source.value("SELECT count(*) FROM t") == 100


def test_wrong_usage(dsp: Dsp, place: Place) -> None:
    for arguments, told in [
        ((), "give a task file and --run, or --manifest"),
        (("old.yaml",), "say which run with --run"),
        (("--manifest", "s3://x/y", "--run", "r"), "--run, --job and --children belong to"),
        (("--manifest", "s3://x/y"), "needs the connection and the table"),
        (("old.yaml", "--run", "latest", "--batches", "1-x"), "batches"),
        (("old.yaml", "--run", "latest", "--on-conflict", "replace"), "on_conflict"),
        (("old.yaml", "--run", "latest", "--where", "v >"), "where"),
        (("old.yaml", "--run", "latest", "--connection", "nobody"), "no Airflow connection"),
        (("old.yaml", "--run", "latest", "--connection", "archive"), "leads to S3"),
    ]:
        done = dsp("restore", *arguments)
        assert done.code == 2, (arguments, done)
        assert told in done.err, (arguments, done.err)
    assert dsp.source.value("SELECT count(*) FROM t") == 0


def test_an_object_that_was_altered(dsp: Dsp, place: Place) -> None:
    key = next(key for key in place.objects() if key.endswith("batch=3.parquet"))
    place.client.put_object(Bucket=place.name, Key=key, Body=b"something else")
    done = dsp("restore", "old.yaml", "--run", "latest")
    assert done.code == 3
    assert "batch=3.parquet" in done.err
    assert dsp.source.value("SELECT max(id) FROM t") == 40


WARM = """
name: moved
jobs:
  - name: moved
    type: warm
    source: {connection: source, table: public.t}
    target: {connection: target, table: public.kept}
    columns:
      - {source: id, target: number}
      - {source: v}
      - {target: origin, constant: here}
    accept_loss: []
    check: {percent: 100}
    purge: system
    batch_size: 20
"""


@pytest.fixture
def moved(dsp: Dsp) -> str:
    """The run that moved a table of 100 rows to the target."""
    dsp.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v numeric)",
        "INSERT INTO t SELECT n, n / 4.0 FROM generate_series(1, 100) n",
    )
    (dsp.folder / "moved.yaml").write_text(WARM)
    ran = dsp("run", "moved.yaml", "--json")
    assert ran.code == 0, ran.err
    assert dsp.source.value("SELECT count(*) FROM t") == 0
    return str(ran.document["run"])


def test_from_a_warm_target(dsp: Dsp, moved: str) -> None:
    """By batches, then all that matches: the columns find their way back."""
    some = dsp("restore", "moved.yaml", "--run", moved, "--batches", "2,4-5", "--json")
    assert some.code == 0, some.err
    assert (some.job["rows_written"], some.job["rows_checked"]) == (60, 60)
    assert dsp.source.rows("SELECT min(id), max(id), count(*) FROM t") == [(21, 100, 60)]
    rest = dsp(
        *("restore", "moved.yaml", "--run", "latest", "--on-conflict", "ignore"),
        *("--where", "number <= 50 AND origin = 'here'"),
    )
    assert rest.code == 0, rest.err
    assert dsp.source.rows("SELECT count(*), sum(v) FROM t") == [(90, 1123.75)]


def test_from_a_warm_target_wrongly(dsp: Dsp, moved: str) -> None:
    unknown = dsp("restore", "moved.yaml", "--run", "latest", "--batches", "9")
    assert unknown.code == 4
    assert "there is no batch 9" in unknown.err
    dsp.source.execute("INSERT INTO t VALUES (1, 0)")
    standing = dsp("restore", "moved.yaml", "--run", moved)
    assert standing.code == 4
    assert "on_conflict is error" in standing.err
