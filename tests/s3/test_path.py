"""S3 jobs from plan to purge, on real servers."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from dsp_airflow.config.loading import load_task
from dsp_airflow.engine import definition
from dsp_airflow.engine.errors import ConfigError, Mismatch, Refused
from dsp_airflow.engine.model import Plan
from dsp_airflow.opening import open_run
from dsp_airflow.repairing import repairable
from dsp_airflow.run_variables import Interval
from tests.s3.harness import Archives

TABLE = "CREATE TABLE t (id bigint PRIMARY KEY, name text, paid numeric(12,2), at timestamptz)"
ROWS = (
    "INSERT INTO t SELECT n, CASE WHEN n % 7 > 0 THEN 'é' || n END, n / 3.0, "
    "timestamptz '2024-01-01' + n * interval '1 min' FROM generate_series(1, {}) n"
)
EVERYTHING: dict[str, Any] = {"check": {"percent": 100}, "purge": "system", "batch_size": 30}


def filled(jobs: Archives, rows: int = 100, **job: Any) -> Archives:
    jobs.source.execute(TABLE, ROWS.format(rows))
    jobs.write(jobs.job(**{**EVERYTHING, **job}))
    return jobs


def ids(jobs: Archives) -> list[int]:
    return [n for (n,) in jobs.source.rows("SELECT id FROM t ORDER BY id")]


@pytest.mark.parametrize("name", ["parquet", "csv", "jsonl"])
def test_archived_checked_and_purged(jobs: Archives, name: str) -> None:
    filled(jobs, where="id <= 90", target={"format": name})
    jobs.run()
    job = jobs.only()
    assert (job.rows_written, job.rows_checked, job.rows_purged, job.rows_kept) == (90, 90, 90, 0)
    assert ids(jobs) == list(range(91, 101))
    ending = {"parquet": "parquet", "csv": "csv.zst", "jsonl": "jsonl.zst"}[name]
    run = jobs.latest().run.id
    assert jobs.batches() == [f"a/b/run={run}/batch={n}.{ending}" for n in (1, 2, 3)]


def test_the_manifest_tells_everything(one: Archives) -> None:
    filled(one, where="id <= :last", variables={"last": 60}, purge="none")
    one.run()
    told = one.manifest()
    assert (told["task"], told["job"], told["rows"]) == ("task", "copy", 60)
    assert told["variables"] == {"last": 60}
    assert told["key"] == ["id"]
    assert told["filter"] == '("id" <= ((60)))'
    assert [c["name"] for c in told["columns"]] == ["id", "name", "paid", "at"]
    assert told["columns"][2]["native"] == "numeric(12,2)"
    (ddl,) = told["ddl"]
    assert ddl.startswith('CREATE TABLE "public"."t"')
    assert one.place is not None
    objects = one.objects()
    for batch in told["batches"]:
        (stored,) = batch["objects"]
        body = objects[stored["key"]]
        assert (stored["size"], stored["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert stored["rows"] == batch["rows"] == batch["digest"]["rows"]
        assert (stored["version"] is None) != one.place.bucket().versioned()
    assert [b["upto"] for b in told["batches"]] == [["30"], ["60"]]
    (receipts,) = [json.loads(v) for k, v in objects.items() if k.endswith("_receipts.json")]
    assert [r["batch"] for r in receipts["receipts"]] == [1, 2]


def test_parquet_is_read_by_others(one: Archives) -> None:
    filled(one, rows=20, purge="none")
    one.run()
    (body,) = [v for k, v in one.objects().items() if "/batch=" in k]
    table = pq.read_table(io.BytesIO(body))
    assert [str(f.type) for f in table.schema] == [
        *("int64", "string", "decimal128(12, 2)", "timestamp[us, tz=UTC]"),
    ]
    frame = table.to_pandas().set_index("id")
    source = one.source.rows("SELECT id, name, paid, at FROM t")
    for number, name, paid, at in source:
        row = frame.loc[number]
        known = row["name"] if isinstance(row["name"], str) else None
        assert (known, row["paid"], row["at"].to_pydatetime()) == (name, paid, at)
    (one.folder / "x.parquet").write_bytes(body)
    query = "SELECT id, name, paid FROM {} ORDER BY id"
    found = duckdb.execute(query.format(f"'{one.folder}/x.parquet'")).fetchall()
    assert found == one.source.rows(query.format("t"))


def test_values_beyond_their_column(one: Archives) -> None:
    one.source.execute(
        TABLE,
        "INSERT INTO t VALUES (1, '', 'NaN', 'infinity'), (2, NULL, 1.5, '0044-03-15 BC'), "
        "(3, 'x', NULL, NULL)",
    )
    one.write(one.job(**EVERYTHING))
    one.run()
    assert ids(one) == []
    (body,) = [v for k, v in one.objects().items() if "/batch=" in k]
    exact = pq.read_table(io.BytesIO(body))["__dsp_exact"].to_pylist()
    assert [text and json.loads(text) for text in exact] == [
        {"paid": "NaN", "at": "infinity"},
        {"at": "-0043-03-15T00:00:00.000000Z"},
        None,
    ]


def damage(jobs: Archives, how: str, number: int = 2) -> None:
    """Something happens to the object of one batch."""
    assert jobs.place is not None
    client, bucket = jobs.place.client, jobs.place.name
    keys = jobs.batches()
    key = keys[number - 1]
    body = jobs.objects()[key]
    if how == "byte":
        body = body[:100] + bytes([body[100] ^ 1]) + body[101:]
    elif how == "truncated":
        body = body[:-1]
    elif how == "swapped":
        body = jobs.objects()[keys[number]]
    if how == "deleted":
        client.delete_object(Bucket=bucket, Key=key)
    else:
        client.put_object(Bucket=bucket, Key=key, Body=body)


@pytest.mark.parametrize("how", ["byte", "truncated", "swapped", "deleted"])
def test_damage_is_found_by_the_check(one: Archives, how: str) -> None:
    run = filled(one).open()
    run.plan("copy")
    run.copy("copy")
    damage(one, how)
    with pytest.raises(Mismatch, match="differ"):
        run.check("copy")
    assert one.only().rows_different == 30
    with pytest.raises(Refused, match="an archive is what rows were, and is never written over"):
        repairable(run, None)
    (receipts,) = [v for k, v in one.objects().items() if k.endswith("_receipts.json")]
    assert [r["batch"] for r in json.loads(receipts)["receipts"]] == [1, 3, 4]
    with pytest.raises(Refused, match="not checked"):
        run.purge("copy")
    assert len(ids(one)) == 100


@pytest.mark.parametrize("how", ["byte", "truncated", "swapped", "deleted"])
def test_damage_after_the_check_stops_exactly_that_batch(one: Archives, how: str) -> None:
    run = filled(one).open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    damage(one, how)
    run.purge("copy")
    assert ids(one) == list(range(31, 61))
    job = one.only()
    assert (job.rows_purged, job.rows_kept) == (70, 30)
    (found,) = run.runs.differences(run.run.id)
    assert "batch=2.parquet" in found.difference.reason


def test_nothing_is_deleted_without_a_manifest(plain: Archives) -> None:
    """Whoever archived the last batch may have been killed right after that."""
    run = filled(plain).open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    (key,) = [k for k in plain.objects() if k.endswith("_manifest.json")]
    body = plain.objects()[key]
    assert plain.place is not None
    plain.place.client.delete_object(Bucket=plain.place.name, Key=key)
    run.purge("copy", [1])
    assert plain.objects()[key] == body
    assert ids(plain) == list(range(31, 101))


def test_a_table_that_is_altered_right_before_the_purge(
    plain: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = filled(plain).open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    derived = definition.verify_derived

    def altering(plan: Plan, anew: Plan) -> None:
        derived(plan, anew)
        plain.source.execute("ALTER TABLE t ADD extra text DEFAULT 'in no object'")

    monkeypatch.setattr(definition, "verify_derived", altering)
    with pytest.raises(Refused, match="column extra added"):
        run.purge("copy")
    assert len(ids(plain)) == 100


def test_rows_that_changed_since_stay(one: Archives) -> None:
    run = filled(one).open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    one.source.execute(
        "UPDATE t SET name = 'new' WHERE id = 5",
        "DELETE FROM t WHERE id = 40",
        "UPDATE t SET id = 1000 WHERE id = 70",
    )
    run.purge("copy")
    assert ids(one) == [5, 1000]
    reasons = {d.difference.key: d.difference.reason for d in run.runs.differences(run.run.id)}
    assert "changed in the source" in reasons[("5",)]


def test_a_check_is_of_what_was_read(one: Archives) -> None:
    """The source moves on between copy and check: no alarm."""
    run = filled(one).open()
    run.plan("copy")
    run.copy("copy")
    one.source.execute("UPDATE t SET name = 'new' WHERE id = 5")
    run.check("copy")
    assert one.only().rows_different == 0


def test_only_the_sample_is_read_back(one: Archives) -> None:
    run = filled(one, check={"percent": 30}).open()
    run.plan("copy")
    run.copy("copy")
    found = run.check("copy")
    assert found.rows_checked in (30, 60, 40)
    run.purge("copy")
    assert ids(one) == []


def test_a_retry_replaces_its_own_object_only(one: Archives) -> None:
    run = filled(one, purge="none").open()
    run.plan("copy")
    assert one.place is not None
    # Somebody was killed after the upload and before the record.
    key = f"a/b/run={run.run.id}/batch=2.parquet"
    one.place.client.put_object(Bucket=one.place.name, Key=key, Body=b"an earlier try")
    other = one.place.client.create_multipart_upload(Bucket=one.place.name, Key=key)
    one.place.client.put_object(Bucket=one.place.name, Key="a/b/other.txt", Body=b"not ours")
    assert other["UploadId"]
    run.copy("copy")
    run.check("copy")
    assert one.place.uploads() == []
    assert one.objects()["a/b/other.txt"] == b"not ours"
    assert len(one.batches()) == 4


def test_the_folder_of_another_job(one: Archives) -> None:
    filled(one, purge="none")
    one.run()
    one.write(one.job(name="other"))
    with pytest.raises(ConfigError, match="is the folder of job copy of task task"):
        one.run()


def test_a_prefix_of_the_day(one: Archives) -> None:
    places = "наука/x y/{{ run_date }}/{{ run_date-100y:%Y/%m }}/{{ job }}"
    filled(one, purge="none", target={"prefix": places})
    one.run()
    day = one.latest().run.started_at
    assert day is not None
    begin = f"наука/x y/{day:%Y-%m-%d}/{day.year - 100}/{day:%m}/copy/run="
    assert all(key.startswith(begin) for key in one.batches())


def test_missing_bucket(one: Archives) -> None:
    filled(one, target={"bucket": "nowhere"})
    with pytest.raises(ConfigError, match="create the bucket"):
        one.run()


def test_an_empty_table(one: Archives) -> None:
    one.source.execute(TABLE)
    one.write(one.job(**EVERYTHING))
    one.run()
    assert one.batches() == []
    assert one.manifest()["batches"] == []


def test_shards_and_workers_share_the_batches(one: Archives) -> None:
    filled(one, rows=1000, workers=3, purge="none")
    one.run()
    assert len(one.batches()) == 34
    assert one.only().rows_written == 1000


KEYS = [
    ("boolean", "'t'", "'f'"),
    ("bytea", "'\\x00ff'", "'\\x01'"),
    ("date", "'0044-03-15 BC'", "'infinity'"),
    ("timestamp", "'2024-01-01 00:00:00.5'", "'12345-01-01'"),
    ("timestamptz", "'2024-01-01 00:00:00+00'", "'0001-01-01 BC'"),
    ("time", "'24:00'", "'00:00:00.000001'"),
    ("uuid", "'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"),
    ("numeric(5,1)", "1.5", "-1"),
    ("real", "0.1", "1e20"),
    ("character(4)", "'a'", "'b c'"),
]


@pytest.mark.parametrize(("kind", "first", "second"), KEYS, ids=[k for k, *_ in KEYS])
def test_rows_are_found_by_any_key(one: Archives, kind: str, first: str, second: str) -> None:
    one.source.execute(
        f"CREATE TABLE t (k {kind} PRIMARY KEY, v text)",
        f"INSERT INTO t VALUES ({first}, 'one'), ({second}, 'two')",
    )
    one.write(one.job(check={"percent": 100}, purge="manual"))
    run = one.open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    one.source.execute(f"UPDATE t SET v = 'new' WHERE k = {second}::{kind}")
    run.purge("copy")
    assert one.source.rows("SELECT v FROM t") == [("new",)]
    (found,) = run.runs.differences(run.run.id)
    assert found.difference.columns == ("v",)


def test_the_plan_warns_of_a_filter_without_an_index(one: Archives) -> None:
    filled(one, where="name = 'é1'")
    plan = one.open().plan("copy")
    assert any("no index on filter column name" in warning for warning in plan.warnings)


def partitioned(jobs: Archives, **job: Any) -> Archives:
    """100 rows of three years and four kinds, one of them NULL and one no fit name for a folder."""
    jobs.source.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, kind text, at timestamptz)",
        "INSERT INTO t SELECT n, (ARRAY['a', 'b/=c d', 'é', NULL])[1 + n % 4], "
        "timestamptz '2022-06-01' + n * interval '8 days' FROM generate_series(1, 100) n",
    )
    given = {
        "partitions": [
            {"name": "year", "expression": "extract(year from at)"},
            {"name": "sort", "expression": "kind"},
        ]
    }
    jobs.write(jobs.job(**{**EVERYTHING, **job}, target=given))
    return jobs


def test_partitions_are_folders(jobs: Archives) -> None:
    partitioned(jobs, where="id <= 50")
    before = jobs.source.rows("SELECT id, kind, extract(year from at)::int FROM t ORDER BY id")
    jobs.run()
    count = 50
    assert ids(jobs) == list(range(count + 1, 101))
    run = jobs.latest().run.id
    keys = jobs.batches()
    assert f"a/b/year=2022/sort=b%2F%3Dc%20d/run={run}/batch=1.parquet" in keys
    assert f"a/b/year=2022/sort=__HIVE_DEFAULT_PARTITION__/run={run}/batch=1.parquet" in keys
    folder = jobs.folder / "bucket"
    for key, body in jobs.objects().items():
        if key.endswith(".parquet"):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    found = duckdb.execute(
        f"SELECT id, kind, year::int, nullif(sort, '__HIVE_DEFAULT_PARTITION__') "
        f"FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true) ORDER BY id"
    ).fetchall()
    assert [(n, kind, year) for n, kind, year, _ in found] == before[:count]
    assert [kind for _, kind, *_ in found] == [sort for *_, sort in found]
    job = jobs.restore()
    assert (job.rows_written, job.rows_checked) == (count, count)
    assert ids(jobs) == list(range(1, 101))


def test_a_partition_that_is_gone_leaves_no_object(one: Archives) -> None:
    """A try that broke off had uploaded rows that meanwhile stand in another partition."""
    run = partitioned(one, purge="none", batch_size=1000).open()
    run.plan("copy")
    stray = f"a/b/year=1999/sort=a/run={run.run.id}/batch=1.parquet"
    other = "a/b/year=1999/sort=a/run=another/batch=1.parquet"
    assert one.place is not None
    for key in (stray, other):
        one.place.client.put_object(Bucket=one.place.name, Key=key, Body=b"x")
    run.copy("copy")
    assert stray not in one.objects()
    assert other in one.objects()


def test_too_many_partitions(one: Archives) -> None:
    one.source.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 300)"
    )
    one.write(one.job(target={"partitions": [{"name": "n", "expression": "id"}]}))
    with pytest.raises(Refused, match="more than 200 partitions"):
        one.run()
    assert not one.batches()


@pytest.mark.parametrize(
    ("name", "expression", "told"),
    [
        ("kind", "kind", "has the name of a column"),
        ("year", "nothing", "has no column 'nothing'"),
    ],
)
def test_partitions_that_cannot_be(one: Archives, name: str, expression: str, told: str) -> None:
    partitioned(one)
    one.write(one.job(target={"partitions": [{"name": name, "expression": expression}]}))
    with pytest.raises(ConfigError, match=told):
        one.run()


def test_a_job_below_a_partitioned_one_keeps_its_objects(one: Archives) -> None:
    """Both are of one run, so only the place of an object tells whose it is."""
    partitioned(one)
    years = {"partitions": [{"name": "year", "expression": "extract(year from at)"}]}
    below = one.job("below", purge="none", target={"prefix": "a/b/below"})
    one.write(below, one.job("above", purge="none", target={"prefix": "a/b", **years}))
    one.run()
    run = one.latest().run.id
    assert f"a/b/below/run={run}/batch=1.parquet" in one.objects()
    for name in ("below", "above"):
        one.latest().check_again(name, 100)


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ("x/task", "x/{{ task }}/year=2022"),
        ("x/{{ run_date }}", "x/{{ logical_date }}/year=2022"),
        ("x/{{ run_date }}", "x/{{ logical_date }}"),
    ],
)
def test_folders_that_turn_out_to_be_one(one: Archives, above: str, below: str) -> None:
    """What one job writes of a run, the other would take for a broken-off try of its own."""
    partitioned(one)
    years = {"partitions": [{"name": "year", "expression": "extract(year from at)"}]}
    one.write(
        one.job("below", purge="none", target={"prefix": below}),
        one.job("above", purge="none", target={"prefix": above, **years}),
    )
    run = open_run(one.state, load_task(one.file), one.file, one.store)
    run.begin(Interval(logical_date=one.state.now()))
    for name in ("below", "above"):
        with pytest.raises(ConfigError, match=r"is a folder of job .*, too"):
            run.plan(name)
    assert one.objects() == {}


def test_a_value_that_is_called_as_none_is(one: Archives) -> None:
    one.source.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, kind text)",
        "INSERT INTO t VALUES (1, NULL), (2, '__HIVE_DEFAULT_PARTITION__'), (3, NULL)",
    )
    sorts = {"partitions": [{"name": "sort", "expression": "kind"}]}
    one.write(one.job(**EVERYTHING, target=sorts))
    before = one.source.rows("SELECT * FROM t ORDER BY id")
    one.run()
    run = one.latest().run.id
    assert one.batches() == [
        f"a/b/sort=%5F_HIVE_DEFAULT_PARTITION__/run={run}/batch=1.parquet",
        f"a/b/sort=__HIVE_DEFAULT_PARTITION__/run={run}/batch=1.parquet",
    ]
    assert ids(one) == []
    one.restore()
    assert one.source.rows("SELECT * FROM t ORDER BY id") == before
