"""S3 jobs by the command."""

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
    target: {connection: archive, bucket: BUCKET, prefix: "a b/{{ run_date }}"}
    where: "id <= :last"
    variables: {last: 60}
    check: {percent: 100}
    purge: manual
    batch_size: 20
"""


@pytest.fixture
def place(dsp: Dsp, moto: S3Server) -> Place:
    found = fresh_bucket(moto)
    dsp.connections["archive"] = found.airflow_connection
    dsp.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v numeric)",
        "INSERT INTO t SELECT n, n / 3.0 FROM generate_series(1, 100) n",
    )
    (dsp.folder / "old.yaml").write_text(TASK.replace("BUCKET", found.name))
    return found


def test_plan_run_check_and_purge(dsp: Dsp, place: Place) -> None:
    plan = dsp("plan", "old.yaml", "--json").job["plan"]
    assert (plan["rows"], plan["batches"]) == (60, 3)
    assert [pair["target_type"] for pair in plan["pairs"]] == ["int32", "string"]
    assert place.objects() == {}
    shown = dsp("plan", "old.yaml")
    assert shown.code == 0
    assert 'Restored as: CREATE TABLE "public"."t"' in shown.out
    ran = dsp("run", "old.yaml", "--json")
    assert ran.code == 0, ran.err
    assert (ran.job["rows_written"], ran.job["rows_checked"]) == (60, 60)
    checked = dsp("check", "old.yaml", "--json")
    assert (checked.code, checked.job["rows_different"]) == (0, 0)
    purged = dsp("purge", "old.yaml", "--batches", "1,3", "--json")
    assert purged.code == 0, purged.err
    assert dsp.source.value("SELECT count(*) FROM t") == 60
    key = next(key for key in place.objects() if key.endswith("batch=2.parquet"))
    place.client.put_object(Bucket=place.name, Key=key, Body=b"something else")
    assert dsp("check", "old.yaml").code == 3
    assert dsp("purge", "old.yaml", "--batches", "all").code == 4
    assert dsp.source.value("SELECT count(*) FROM t") == 60


def test_a_warm_job_into_a_bucket(dsp: Dsp, place: Place) -> None:
    text = TASK.replace("type: s3", "type: warm").replace(
        ', bucket: BUCKET, prefix: "a b/{{ run_date }}"', ""
    )
    (dsp.folder / "warm.yaml").write_text(text)
    done = dsp("plan", "warm.yaml")
    assert done.code == 2
    assert "leads to S3" in done.err
    (dsp.folder / "s3.yaml").write_text(TASK.replace("connection: archive", "connection: target"))
    done = dsp("plan", "s3.yaml")
    assert done.code == 2
    assert "no connection to S3" in done.err


def test_check_connection(dsp: Dsp, place: Place) -> None:
    found = dsp("check-connection", "archive", "--json")
    assert found.code == 0
    assert {f["subject"] for f in found.document["findings"]} >= {"list", "put", "get", "delete"}
    assert place.objects() == {}
