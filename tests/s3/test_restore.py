"""Archived rows put back, on real servers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.approval.people import Roles
from dsp_airflow.engine.archive.manifest import CHECKSUM
from dsp_airflow.engine.archive.witness import Altered
from dsp_airflow.engine.errors import BadValue, ConfigError, Denied, DspError, Mismatch, Refused
from dsp_airflow.opening import open_run
from dsp_airflow.permissions.checks import permit_of
from dsp_airflow.permissions.grants import Holder, Scope
from dsp_airflow.permissions.store import Grants
from dsp_airflow.restoring import Wish, of_manifest
from dsp_airflow.state.records import JobSummary
from tests.conftest import NewDatabase
from tests.s3.harness import Archives, archives, finished
from tests.s3.test_path import EVERYTHING, damage, filled, ids
from tests.servers import Database
from tests.servers.s3 import S3Server, fresh_bucket

ALL = "SELECT * FROM t ORDER BY id"


@pytest.fixture
def one(plain: Archives) -> Archives:
    """A bucket without versions will do."""
    return plain


@pytest.mark.parametrize("name", ["parquet", "csv", "jsonl"])
def test_purged_rows_come_back(jobs: Archives, name: str) -> None:
    filled(jobs, where="id <= 90", target={"format": name})
    before = jobs.source.rows(ALL)
    jobs.run()
    assert ids(jobs) == list(range(91, 101))
    found = jobs.restore()
    assert (found.rows_written, found.rows_checked, found.rows_different) == (90, 90, 0)
    assert (found.state, found.batches) == ("succeeded", 3)
    assert jobs.source.rows(ALL) == before
    assert len(jobs.batches()) == 3


def test_batches_keep_their_numbers(one: Archives) -> None:
    filled(one)
    one.run()
    assert one.restore(batches="2,4").rows_written == 40
    assert ids(one) == [*range(31, 61), *range(91, 101)]
    assert one.restore(batches="1").rows_written == 30
    assert one.restore(batches="3").rows_written == 30
    assert ids(one) == list(range(1, 101))
    with pytest.raises(Refused, match="has batches 1 to 4; there is no batch 5"):
        one.restore(batches="3-9")


def test_to_another_database(jobs: Archives, new_pg_db: NewDatabase) -> None:
    jobs.source.execute(
        "CREATE TYPE mood AS ENUM ('so', 'la la')",
        "CREATE TABLE t (id bigint PRIMARY KEY, name varchar(20) NOT NULL DEFAULT 'x', "
        "paid numeric(12,2), mood mood, kind char(3), at timestamptz(3), tags text[])",
        "INSERT INTO t SELECT n, 'n' || n, n, 'la la', 'a', '0044-01-01 BC', "
        "ARRAY['a', NULL, '\"'] FROM generate_series(1, 50) n",
    )
    jobs.write(jobs.job(**EVERYTHING))
    rows = jobs.source.rows("SELECT to_jsonb(t) FROM t ORDER BY id")
    jobs.run()
    jobs.target = new_pg_db()
    assert jobs.restore(connection="target").rows_checked == 50
    assert jobs.target.rows("SELECT to_jsonb(t) FROM t ORDER BY id") == rows
    described = (
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, "
        "pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef "
        "ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 't'::regclass AND attnum > 0"
    )
    assert jobs.target.rows(described) == jobs.source.rows(described)
    assert jobs.target.rows(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 't'::regclass "
        "AND contype = 'p'"
    ) == [("PRIMARY KEY (id)",)]


def test_to_another_table(one: Archives) -> None:
    filled(one, purge="none")
    one.run()
    assert one.restore(table="public.again").rows_written == 100
    assert one.source.rows("SELECT * FROM again ORDER BY id") == one.source.rows(ALL)


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("id > 25 AND id % 2 = 0", [n for n in range(26, 101) if n % 2 == 0]),
        ("name IS NULL", list(range(7, 101, 7))),
        ("name LIKE 'é1_'", [n for n in range(10, 20) if n % 7]),
        ("at >= timestamptz '2024-01-01 01:30:00+00'", list(range(90, 101))),
        ("paid / 2 > 16.5", [100]),
        ("id > 1000", []),
    ],
)
def test_only_what_matches(one: Archives, where: str, wanted: list[int]) -> None:
    filled(one)
    one.run()
    found = one.restore(where=where)
    assert (found.rows_written, found.rows_checked) == (len(wanted), len(wanted))
    assert ids(one) == wanted


def test_only_what_rules_choose(one: Archives) -> None:
    filled(one)
    one.run()
    where = {
        "all": [
            {"column": "name", "operator": "like", "value": "é1_"},
            {"not": {"column": "id", "operator": "between", "value": [12, 13]}},
        ]
    }
    found = finished(one.going_back(one.by_rules(where)))
    wanted = [n for n in range(10, 20) if n % 7 and n not in (12, 13)]
    assert (found.rows_written, ids(one)) == (len(wanted), wanted)
    wrong = one.going_back(one.by_rules({"column": "nmae", "operator": "is_null"}))
    with pytest.raises(ConfigError, match="has no column 'nmae'; did you mean name"):
        wrong.plan("copy")


def test_the_target_server_judges_the_filter(one: Archives) -> None:
    one.source.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, at inet, d date, n numeric)",
        "INSERT INTO t VALUES (1, '10.0.0.7', 'infinity', 'NaN'), (2, '11.0.0.1', '0044-01-01 BC', "
        "1.50), (3, NULL, NULL, NULL)",
    )
    one.write(
        one.job(**EVERYTHING, columns=[{"source": c} for c in ("id", "d", "n")], accept_loss=["at"])
    )
    one.run()
    one.source.execute("ALTER TABLE t DROP COLUMN at")
    assert one.restore(where="d > date '2024-01-01' AND n > 1000").rows_written == 1
    assert ids(one) == [1]
    assert one.restore(where="d < date '0001-01-01' OR d IS NULL").rows_written == 2
    assert one.source.rows("SELECT id, d::text, n::text FROM t ORDER BY id") == [
        (1, "infinity", "NaN"),
        (2, "0044-01-01 BC", "1.50"),
        (3, None, None),
    ]


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("nothing = 1", "the archive restores no column 'nothing'"),
        ("id = :cutoff", "':cutoff' stands for nothing here"),
        ("id IN (SELECT 1)", "nothing was restored: where"),
        ("random() > 0.5", "nothing was restored: where"),
    ],
)
def test_filters_that_cannot_be(one: Archives, where: str, told: str) -> None:
    filled(one)
    one.run()
    with pytest.raises(ConfigError) as caught:
        one.restore(where=where)
    assert told in str(caught.value)
    assert ids(one) == []


def test_a_row_that_stands_there(one: Archives) -> None:
    filled(one)
    one.run()
    one.source.execute("INSERT INTO t VALUES (31, 'newer', 1, now())")
    with pytest.raises(BadValue, match="already and on_conflict is error"):
        one.restore()
    # The first batch was done before; what stood there stands.
    assert ids(one) == list(range(1, 32))
    found = one.restore(on_conflict="ignore")
    assert (found.rows_different, found.state) == (0, "succeeded")
    assert ids(one) == list(range(1, 101))
    assert one.source.rows("SELECT name FROM t WHERE id = 31") == [("newer",)]
    assert one.restore(on_conflict="update").state == "succeeded"
    assert one.source.rows("SELECT name FROM t WHERE id = 31") == [("é31",)]


def test_a_spoiled_restore_is_found(one: Archives) -> None:
    filled(one)
    one.run()
    run = one.restoring()
    run.plan("copy")
    run.copy("copy")
    one.source.execute("UPDATE t SET name = 'other' WHERE id = 40", "DELETE FROM t WHERE id = 70")
    with pytest.raises(Mismatch, match="2 rows differ"):
        run.check("copy")
    found = {(d.difference.kind, d.difference.key) for d in run.runs.differences(run.run.id)}
    assert found == {("changed", ("40",)), ("missing", ("70",))}


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("how", ["byte", "truncated", "swapped", "deleted"])
def test_an_object_that_is_not_what_was_uploaded(
    tmp_path: Path, pg18_db: Database, moto: S3Server, how: str, versioned: bool
) -> None:
    one = archives(tmp_path, pg18_db, fresh_bucket(moto, versioned=versioned))
    filled(one)
    one.run()
    damage(one, how)
    with pytest.raises(Altered, match="batch=2"):
        one.restore()
    assert set(ids(one)) <= set(range(1, 31))
    with pytest.raises(Altered, match="batch=2"):
        one.restore(batches="2")
    assert one.restore(batches="4").rows_written == 10


def put(jobs: Archives, key: str, body: bytes) -> None:
    assert jobs.place is not None
    jobs.place.client.put_object(Bucket=jobs.place.name, Key=key, Body=body)


def manifest_key(jobs: Archives) -> str:
    (key,) = [key for key in jobs.objects() if key.endswith("_manifest.json")]
    return key


def edited(jobs: Archives, *, repaired: bool) -> bytes:
    """The manifest with one digit changed, and maybe a checksum that agrees."""
    told = jobs.manifest()
    told["batches"][0]["rows"] += 1
    told["rows"] += 1
    return document(told, repaired=repaired)


def document(told: dict[str, Any], *, repaired: bool) -> bytes:
    """A manifest's bytes."""
    if repaired:
        rest = {name: value for name, value in told.items() if name != CHECKSUM}
        text = json.dumps(rest, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        told[CHECKSUM] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(told, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


def test_a_manifest_that_is_gone_is_written_again(one: Archives) -> None:
    filled(one)
    one.run()
    key, body = manifest_key(one), one.objects()[manifest_key(one)]
    assert one.place is not None
    one.place.client.delete_object(Bucket=one.place.name, Key=key)
    assert one.restore().rows_written == 100
    assert one.objects()[key] == body


@pytest.mark.parametrize("repaired", [False, True])
def test_a_manifest_that_was_edited(one: Archives, repaired: bool) -> None:
    filled(one)
    one.run()
    put(one, manifest_key(one), edited(one, repaired=repaired))
    told = "it is not what the records of run .* make .*rows" if repaired else "it does not have"
    with pytest.raises(Mismatch, match=f"was edited: {told}"):
        one.restore()
    assert ids(one) == []


def by_manifest(jobs: Archives, **wish: Any) -> Any:
    assert jobs.place is not None
    address = f"s3://{jobs.place.name}/{manifest_key(jobs)}"
    given = replace(Wish(connection="source", table="public.t"), **wish)
    return of_manifest(address, "archive", given, jobs.store)


def test_by_the_manifest_alone(one: Archives, new_pg_db: NewDatabase) -> None:
    filled(one)
    rows = one.source.rows(ALL)
    one.run()
    one.source = new_pg_db()
    found = finished(one.going_back(by_manifest(one)))
    assert (found.rows_written, found.rows_checked) == (100, 100)
    assert one.source.rows(ALL) == rows


def test_by_a_manifest_that_was_edited(one: Archives) -> None:
    filled(one)
    one.run()
    put(one, manifest_key(one), edited(one, repaired=False))
    with pytest.raises(Mismatch, match="was edited: it does not have the sha256 that it says"):
        by_manifest(one)


def test_no_manifest_leads_out_of_the_folder_that_was_granted(
    one: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write there could name any object in it, and any bucket."""
    filled(one)
    one.run()
    key, told = manifest_key(one), one.manifest()
    first = told["batches"][0]["objects"][0]
    put(one, "a/secret/batch=1", one.objects()[first["key"]])
    moved = json.loads(json.dumps(told))
    moved["batches"][0]["objects"][0]["key"] = "a/secret/batch=1"
    Roles(one.state).add("administrators", "root", "root")
    Grants(one.state).add(
        Holder("eva"), Scope("archive", told["bucket"], "a/b", is_path=True), ["read"], "root"
    )
    Grants(one.state).add(Holder("eva"), Scope("source"), ["read", "write"], "root")
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_GRANTS", "True")
    one.source.execute("DELETE FROM t")

    def restored() -> JobSummary:
        task = by_manifest(one, on_conflict="ignore")
        run = open_run(one.state, task, one.file, one.store, new=True)
        run.permit = permit_of(one.state, "", "eva", "restore")
        run.begin()
        return finished(run)

    for edit in (moved, told | {"bucket": "another-bucket"}):
        put(one, key, document(edit, repaired=True))
        with pytest.raises(Denied, match=r"a/secret/batch=1 is not below a/b|bucket another-buck"):
            restored()
        assert len(ids(one)) < 100
    put(one, key, document(told, repaired=True))
    assert restored().rows_checked == 100
    Grants(one.state).revoke(Grants(one.state).all(connection="archive")[0].id, "root")
    with pytest.raises(Denied, match=r"has no grant to read connection archive .* a/b"):
        restored()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://a/b", "is no address of a manifest"),
        ("s3://nowhere-at-all/x/_manifest.json", "nowhere-at-all"),
        ("s3://{bucket}/a/b/nothing.json", "is not there"),
        ("s3://{bucket}/a/b/_dsp.json", "is no manifest"),
    ],
)
def test_addresses_that_lead_nowhere(one: Archives, address: str, told: str) -> None:
    filled(one)
    one.run()
    assert one.place is not None
    wish = Wish(connection="source", table="public.t")
    with pytest.raises(DspError) as caught:
        of_manifest(address.format(bucket=one.place.name), "archive", wish, one.store)
    assert told in str(caught.value)


def test_a_restore_goes_on_where_it_stopped(one: Archives) -> None:
    filled(one)
    one.run()
    damage(one, "deleted", 3)
    with pytest.raises(DspError):
        one.restore()
    done = set(ids(one))
    assert done == set(range(1, 61))
    one.source.execute("UPDATE t SET name = 'since' WHERE id = 5")
    # Its first batches are not written again.
    with pytest.raises(DspError):
        one.restore(new=False)
    assert one.source.rows("SELECT name FROM t WHERE id = 5") == [("since",)]


@pytest.mark.parametrize(
    ("alteration", "told"),
    [
        (
            "ALTER TABLE t ALTER paid TYPE numeric(8,2)",
            "paid was numeric(12,2) and is numeric(8,2)",
        ),
        ("ALTER TABLE t ALTER name TYPE varchar(99)", "name was text and is character varying(99)"),
        ("ALTER TABLE t DROP COLUMN name", "has no column 'name'"),
        ("ALTER TABLE t ADD extra int NOT NULL", "needs a value for extra"),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey", "has no unique index on"),
    ],
)
def test_a_table_that_does_not_fit(one: Archives, alteration: str, told: str) -> None:
    filled(one)
    one.run()
    one.source.execute(alteration)
    with pytest.raises(ConfigError) as caught:
        one.restore()
    assert told in str(caught.value)
    assert one.source.rows("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize(
    "alteration",
    [
        "ALTER TABLE t ALTER id TYPE numeric",
        "ALTER TABLE t ALTER paid TYPE numeric",
        "ALTER TABLE t ADD extra int NOT NULL DEFAULT 5",
    ],
)
def test_a_table_that_became_wider(one: Archives, alteration: str) -> None:
    filled(one)
    rows = one.source.rows("SELECT id, name, paid, at FROM t ORDER BY id")
    one.run()
    one.source.execute(alteration)
    assert one.restore().rows_checked == 100
    assert one.source.rows("SELECT id, name, paid, at FROM t ORDER BY id") == rows


def test_generated_and_identity_columns(one: Archives) -> None:
    one.source.execute(
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int, "
        "twice int GENERATED ALWAYS AS (n * 2) STORED)",
        "INSERT INTO t (n) SELECT g FROM generate_series(1, 50) g",
    )
    one.write(one.job(**EVERYTHING))
    one.run()
    assert ids(one) == []
    assert one.restore().rows_checked == 50
    assert one.source.rows("SELECT sum(twice), max(id) FROM t") == [(2550, 50)]
    one.source.execute("INSERT INTO t (n) VALUES (0)")
    assert one.source.rows("SELECT max(id) FROM t") == [(51,)]


def test_keys_that_sort_by_language(jobs: Archives, new_pg_db: NewDatabase) -> None:
    jobs.source.execute(
        'CREATE TABLE t (id text COLLATE "C" PRIMARY KEY, n int)',
        "INSERT INTO t SELECT chr(65 + n % 26) || chr(97 + (n * 7) % 26) || n, n "
        "FROM generate_series(1, 100) n",
    )
    jobs.write(jobs.job(**EVERYTHING))
    jobs.run()
    jobs.target = new_pg_db()
    jobs.target.execute("CREATE TABLE t (id text PRIMARY KEY, n int)")
    jobs.target.execute("INSERT INTO t VALUES ('M', 0)")
    assert jobs.restore(connection="target").rows_checked == 100
    assert jobs.target.rows("SELECT count(*), sum(n) FROM t") == [(101, 5050)]


def test_runs_that_cannot_be_restored(one: Archives) -> None:
    filled(one)
    run = one.open()
    run.plan("copy")
    with pytest.raises(Refused, match="has archived 0 of 4 batches"):
        one.restore()
    with pytest.raises(ConfigError, match="run x"):
        one.restore("x")
    with pytest.raises(ConfigError, match="has no job 'other' to restore"):
        one.restore(job="other")


def test_back_to_where_the_rows_came_from(one: Archives) -> None:
    """Whatever the file says by now."""
    filled(one)
    one.run()
    run = one.latest().run.id
    one.source.execute("CREATE TABLE u (LIKE t INCLUDING ALL)")
    one.write(one.job(table="public.u", **EVERYTHING))
    assert one.restore(run).rows_written == 100
    assert ids(one) == list(range(1, 101))
    assert one.source.rows("SELECT count(*) FROM u") == [(0,)]


def test_a_run_whose_job_was_planned_anew(one: Archives) -> None:
    """What is gone from the source is in the archive that was written before."""
    filled(one)
    one.run()
    run = one.latest()
    one.source.execute("INSERT INTO t VALUES (500, 'later', 1, now())")
    run.plan("copy", anew=True)
    run.copy("copy")
    for wanted in (None, run.run.id):
        with pytest.raises(Refused, match="planned anew after 100 of its rows were deleted"):
            one.restore(wanted)
    with pytest.raises(Refused, match=r"has its records of .*\.2, and none of .*\.3"):
        one.restore(f"{run.run.id}.3")
    assert one.restore(f"{run.run.id}.2", table="public.again").rows_written == 1
    assert one.place is not None
    address = f"s3://{one.place.name}/a/b/run={run.run.id}/_manifest.json"
    wish = Wish(connection="source", table="public.t")
    first = of_manifest(address, "archive", wish, one.store)
    assert finished(one.going_back(first)).rows_written == 100
    assert ids(one) == [*range(1, 101), 500]


def test_a_job_that_was_planned_anew_and_deleted_nothing(one: Archives) -> None:
    filled(one, purge="none")
    one.run()
    run = one.latest()
    run.plan("copy", anew=True)
    run.copy("copy")
    assert one.restore(run.run.id, table="public.again").rows_written == 100


@pytest.mark.parametrize("narrowed", ["", "by a filter", "by a generated column", "unsampled"])
def test_rows_that_are_not_what_the_source_had(one: Archives, narrowed: str) -> None:
    """As after a check that failed: the object is what was uploaded, and was not what was read."""
    filled(one)
    one.run()
    told = one.manifest()
    told["batches"][0]["digest"]["sum"] += 1
    put(one, manifest_key(one), document(told, repaired=True))
    if narrowed == "by a generated column":
        one.source.execute(
            "ALTER TABLE t DROP paid",
            "ALTER TABLE t ADD paid numeric(12,2) GENERATED ALWAYS AS (id / 3.0) STORED",
        )
    task = by_manifest(one, where="id > 5" if narrowed == "by a filter" else None)
    if narrowed == "unsampled":
        (job,) = task.jobs
        task = task.model_copy(update={"jobs": (job.model_copy(update={"check": None}),)})
    with pytest.raises(Mismatch, match="batch 1 has another digest than its manifest says"):
        finished(one.going_back(task))
    assert ids(one) == []
