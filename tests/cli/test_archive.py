"""S3 jobs by the command."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.cli.harness import Done, Dsp
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


def test_the_cursor_of_an_archive(dsp: Dsp, place: Place) -> None:
    """A folder for each run, of what is new; the cursor is shown and set as any other."""
    moving = "mode: incremental\n    cursor: {column: id, overlap: 2}\n    batch_size: 20"
    text = TASK.replace("BUCKET", place.name).replace("batch_size: 20", moving)
    text = text.replace('    where: "id <= :last"\n    variables: {last: 60}\n', "")
    (dsp.folder / "moving.yaml").write_text(text)
    assert dsp("run", "moving.yaml", "--json").job["rows_written"] == 100
    (found,) = dsp("cursor", "moving.yaml", "--json", "--set", "90").document["cursors"]
    assert found["value"] == "90"
    assert dsp("run", "moving.yaml", "--new", "--json").job["rows_written"] == 13
    (found,) = dsp("cursor", "moving.yaml", "--json").document["cursors"]
    assert found["value"] == "100"
    assert sum(key.endswith("_manifest.json") for key in place.objects()) == 2


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


# Looking into archives


def at(place: Place, prefix: str = "a b") -> tuple[str, ...]:
    return ("--at", f"s3://{place.name}/{prefix}", "--connection", "archive")


def run(dsp: Dsp, file: str = "old.yaml") -> str:
    done = dsp("run", file, "--new", "--json")
    assert done.code == 0, done.err
    return str(done.document["run"])


def test_list_and_show(dsp: Dsp, place: Place) -> None:
    first, second = run(dsp), run(dsp)
    for where in (("old.yaml",), at(place), at(place, "")):
        found = dsp("archive", "list", *where, "--json")
        assert found.code == 0, found.err
        assert [row["run"] for row in found.document["runs"]] == [second, first]
    row = dsp("archive", "list", "old.yaml", "--json").document["runs"][0]
    assert (row["rows"], row["batches"], row["state"]) == (60, 3, "complete")
    assert (row["task"], row["job"], row["table"]) == ("old", "old", "public.t")
    assert (row["manifest"], row["receipts"], row["format"]) == (True, True, "parquet")
    shown = dsp("archive", "list", "old.yaml", "--limit", "1")
    assert second in shown.out
    assert first not in shown.out
    assert "1 of 2 runs" in shown.out
    told = dsp("archive", "show", first, "old.yaml")
    assert told.code == 0, told.err
    for text in ("public.t", '("id" <= ((60)))', "batch=3.parquet", "numeric", "3 of 3 batches"):
        assert text in told.out
    (document,) = dsp("archive", "show", "latest", *at(place), "--json").document["runs"]
    assert document["manifest"]["run"] == second
    assert document["manifest"]["variables"] == {"last": 60}
    assert len(document["receipts"]["receipts"]) == 3


def test_verify(dsp: Dsp, place: Place) -> None:
    first, second = run(dsp), run(dsp)
    done = dsp("archive", "verify", "old.yaml")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("right, by the manifest and the state database") == 2
    keys = sorted(key for key in place.objects() if "/batch=" in key)
    place.client.put_object(Bucket=place.name, Key=keys[0], Body=b"something else")
    place.client.delete_object(Bucket=place.name, Key=keys[5])
    done = dsp("archive", "verify", "old.yaml", "--json")
    assert done.code == 3
    younger, older = done.document["runs"]
    assert [f["object"] for f in older["findings"]] == [f"s3://{place.name}/{keys[0]}"]
    assert [f["object"] for f in younger["findings"]] == [f"s3://{place.name}/{keys[5]}"]
    assert (younger["recorded"], younger["rows"]) == (True, 40)
    assert "2 findings about 2 objects" in done.err
    for where in (("old.yaml",), at(place)):
        done = dsp("archive", "verify", first, *where, "--quick")
        assert done.code == 3
        assert f"s3://{place.name}/{keys[0]}: was cut off: it has 14 bytes" in done.out
        assert second not in done.out
        assert "not read (--quick)" in done.out


def test_verify_without_a_state_database(dsp: Dsp, place: Place) -> None:
    run(dsp)
    dsp.state.rename(dsp.state.with_suffix(".gone"))
    done = dsp("archive", "verify", "old.yaml")
    assert done.code == 0
    assert "not compared with the state database" in done.err
    assert not dsp.state.exists()
    dsp.state.write_text("no database")
    done = dsp("archive", "verify", "old.yaml")
    assert done.code == 0
    assert "not compared with the state database" in done.err


def test_query(dsp: Dsp, place: Place) -> None:
    dsp.source.execute(
        "ALTER TABLE t ADD COLUMN w text",
        "UPDATE t SET w = CASE id WHEN 1 THEN '' WHEN 2 THEN 'a \"b\", c' END",
        "UPDATE t SET v = 'NaN' WHERE id = 3",
    )
    first, second = run(dsp), run(dsp)
    sql = "SELECT id, v, w FROM archive ORDER BY id LIMIT 3"
    assert dsp("archive", "query", sql, "old.yaml", "--json").document == {
        "columns": ["id", "v", "w"],
        "rows": [
            [1, "0.33333333333333333333", ""],
            [2, "0.66666666666666666667", 'a "b", c'],
            [3, "NaN", None],
        ],
    }
    text = dsp("archive", "query", sql, *at(place), "--csv").out
    assert text.splitlines()[1].endswith(',""')
    assert list(csv.reader(io.StringIO(text)))[2] == ["2", "0.66666666666666666667", 'a "b", c']
    shown = dsp("archive", "query", "FROM old", "old.yaml", "--limit", "5")
    assert "the first 5 rows" in shown.out
    count = "SELECT __dsp_run, count(*) FROM archive GROUP BY 1 ORDER BY 1"
    for runs, found in (
        ((), [second]),
        (("--run", "all"), [first, second]),
        (("--run", first), [first]),
        (("--run", first, "--run", second, "--run", first), [first, second]),
    ):
        done = dsp("archive", "query", count, "old.yaml", *runs, "--json")
        assert done.document["rows"] == [[run, 60] for run in found]


def failed(done: Done, code: int, *texts: str) -> None:
    assert done.code == code, done.err
    for text in texts:
        assert text in done.err


def test_errors(dsp: Dsp, place: Place) -> None:
    failed(dsp("archive", "list", "old.yaml"), 2, "holds no archive")
    failed(dsp("archive", "list"), 2, "say where the archive is")
    failed(dsp("archive", "list", "--at", "s3://x/y"), 2, "--at needs --connection")
    failed(dsp("archive", "list", "old.yaml", "--connection", "archive"), 2, "goes with --at")
    failed(dsp("archive", "list", *at(place)[:3], "source"), 2, "no connection to S3")
    failed(dsp("archive", "list", *at(place)[:3], "nobody"), 2, "no Airflow connection")
    failed(dsp("archive", "list", "--at", "s3://no-such/y", *at(place)[2:]), 2, "NoSuchBucket")
    first = run(dsp)
    failed(dsp("archive", "list", "old.yaml", "--job", "odl"), 2, "no S3 job 'odl'")
    failed(dsp("archive", "list", *at(place), "--job", "odl"), 2, "there are old")
    failed(dsp("archive", "list", "old.yaml", "--limit", "0"), 2, "--limit")
    failed(dsp("archive", "show", "20260101T000000-aaaaaa", "old.yaml"), 2, f"there are {first}")
    failed(dsp("archive", "verify", "nosuch.yaml"), 2, "nosuch.yaml")
    for sql in ("SELECT nope FROM archive", "DROP VIEW archive", "SELECT * FROM '/etc/passwd'"):
        failed(dsp("archive", "query", sql, "old.yaml"), 2, "[ERROR] ")
    failed(dsp("archive", "query", "SELECT 1", "old.yaml", "--csv", "--json"), 2, "exclude")
    (key,) = [key for key in place.objects() if key.endswith("_manifest.json")]
    body = place.objects()[key].replace(b'"rows": 20', b'"rows": 21', 1)
    place.client.put_object(Bucket=place.name, Key=key, Body=body)
    for command in (("list",), ("show", first), ("query", "SELECT 1"), ("verify",)):
        failed(dsp("archive", *command, "old.yaml"), 3)
    assert "damaged" in dsp("archive", "list", "old.yaml").out
    failed(dsp("archive", "show", first, "old.yaml"), 3, "was edited")
    place.client.delete_object(Bucket=place.name, Key=key)
    assert "unfinished" in dsp("archive", "list", "old.yaml").out
    failed(dsp("archive", "show", first, "old.yaml"), 2, "is not there")
    failed(dsp("archive", "query", "SELECT 1", "old.yaml"), 2, "finished")
    failed(dsp("archive", "verify", "old.yaml"), 3, "1 findings")


def test_a_wrong_secret(dsp: Dsp, rclone: S3Server) -> None:
    """Of a server that looks at it."""
    there = fresh_bucket(rclone)
    (dsp.folder / "old.yaml").write_text(TASK.replace("BUCKET", there.name))
    given = json.loads(there.airflow_connection) | {"password": "hunter-2"}
    dsp.connections["archive"] = json.dumps(given)
    for command in (("list",), ("verify",), ("query", "SELECT 1"), ("show", "latest")):
        for where in (("old.yaml",), at(there)):
            done = dsp("archive", *command, *where)
            failed(done, 4, "SignatureDoesNotMatch", "correct key and secret")
            assert "hunter-2" not in done.out + done.err


def test_names_with_blanks_and_letters(dsp: Dsp, rclone: S3Server) -> None:
    there = fresh_bucket(rclone)
    dsp.connections["archive"] = there.airflow_connection
    dsp.source.execute('CREATE TABLE "т t" ("ключ k" text PRIMARY KEY)')
    dsp.source.execute("""INSERT INTO "т t" VALUES ('é "x"'), (' ')""")
    text = TASK.replace("BUCKET", there.name).replace("a b/", "наука x/{{ job }} & +%/")
    text = text.replace("public.t", """'public."т t"'""").replace('where: "id <= :last"', "")
    (dsp.folder / "old.yaml").write_text(text.replace("variables: {last: 60}", ""))
    first = run(dsp)
    prefix = f"наука x/old & +%/{first[:4]}-{first[4:6]}-{first[6:8]}"
    for where in (("old.yaml",), at(there, prefix), at(there, f"{prefix}/run={first}")):
        assert dsp("archive", "verify", *where).code == 0
        found = dsp("archive", "query", 'SELECT "ключ k" FROM archive ORDER BY 1', *where, "--json")
        assert found.document["rows"] == [[" "], ['é "x"']]
    assert "ключ k" in dsp("archive", "show", first, "old.yaml").out


def test_a_drill(dsp: Dsp, place: Place) -> None:
    """Planned and run by the command; one that was killed after it dropped its table ends, too."""
    text = (
        "name: drill\njobs:\n  - name: old\n    type: restore\n"
        f"    source: {{connection: archive, bucket: {place.name}}}\n"
        "    target: {connection: target, table: public.tried}\n"
        "    drill: {task: old, job: old, percent: 50}\n"
    )
    (dsp.folder / "drill.yaml").write_text(text)
    assert "nothing to try" in dsp("plan", "drill.yaml").err
    archived = dsp("run", "old.yaml", "--json").document["run"]
    plan = dsp("plan", "drill.yaml", "--json").job["plan"]
    assert (plan["rows"], plan["batches"], plan["create"]) == (40, 2, True)
    ran = dsp("run", "drill.yaml", "--json")
    assert (ran.code, ran.job["rows_checked"], ran.job["rows_different"]) == (0, 40, 0), ran.err
    assert "is proved, and was dropped" in ran.err
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE '%dsp_drill%'"
    assert dsp.target.value(left) == 0
    run = ran.document["run"]
    assert f" of run {archived}, by " in ran.err
    dsp.execute_state("UPDATE runs SET state = 'running', ended_at = NULL WHERE task = 'drill'")
    again = dsp("run", "drill.yaml", "--json")
    assert (again.code, again.document["run"]) == (0, run), again.err
