"""Archives are looked into: which runs there are, and whether they still are what was written."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.archives import record_of
from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.archive.listing import FoundRun, Place, find, opened, place_at, place_of
from dsp_airflow.engine.archive.verdict import Verdict
from dsp_airflow.engine.archive.verify import verify
from dsp_airflow.engine.errors import ConfigError, Denied, Transient
from dsp_airflow.engine.stores.s3 import S3Store
from tests.s3.harness import Archives
from tests.s3.storm import Storm
from tests.s3.test_faults import through
from tests.s3.test_path import damage, filled
from tests.share import full

KEPT: dict[str, Any] = {"purge": "none"}


def place(jobs: Archives, number: int = 0) -> Place:
    """Where a job of the task archives."""
    task = load_task(jobs.file)
    job = task.jobs[number]
    assert isinstance(job, S3Job)
    return place_of(job, task.name, bucket_store(jobs))


def bucket_store(jobs: Archives) -> S3Store:
    found: object = jobs.store("archive")
    assert isinstance(found, S3Store)
    return found


def verdicts(jobs: Archives, *, recorded: bool = True, quick: bool = False) -> list[Verdict]:
    """Of every run, the youngest first."""
    runs = find(place(jobs))
    if not recorded:
        return list(verify(runs, quick=quick))
    return list(verify(runs, partial(record_of, jobs.state, "task", "copy"), quick=quick))


def only(jobs: Archives, **how: Any) -> Verdict:
    (verdict,) = verdicts(jobs, **how)
    return verdict


def told(verdict: Verdict) -> list[tuple[str, str]]:
    """Each finding: the object's own name, and what is wrong with it."""
    return sorted((f.object.rpartition("/")[2], f.what) for f in verdict.findings)


def names(verdict: Verdict) -> list[str]:
    return [name for name, _ in told(verdict)]


def put(jobs: Archives, key: str, body: bytes) -> None:
    assert jobs.place is not None
    jobs.place.client.put_object(Bucket=jobs.place.name, Key=key, Body=body)


def key_of(jobs: Archives, ending: str) -> str:
    (found,) = [key for key in jobs.objects() if key.endswith(ending)]
    return found


def edit(jobs: Archives, ending: str, change: Any, *, repair: bool = False) -> None:
    """Changes a document of the run; ``repair`` gives it the checksum that it then has."""
    key = key_of(jobs, ending)
    document = json.loads(jobs.objects()[key])
    change(document)
    if repair:
        del document["sha256"]
        text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        document["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    put(jobs, key, json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False).encode())


# Verify


@pytest.mark.parametrize("name", ["parquet", "csv", "jsonl"] if full() else ["parquet"])
def test_all_is_right(jobs: Archives, name: str) -> None:
    filled(jobs, **KEPT, target={"format": name, "prefix": "наука/x y/{{ run_date }}"})
    jobs.run()
    jobs.run(new=True)
    found = verdicts(jobs)
    assert [(v.state, v.recorded, v.findings, v.notes) for v in found] == [
        ("right", True, [], []),
        ("right", True, [], []),
    ]
    sizes = [sum(len(v) for k, v in jobs.objects().items() if x.at.folder in k) for x in found]
    assert [(v.objects, v.rows, v.digests) for v in found] == [(4, 100, 4)] * 2
    assert all(0 < v.size < size for v, size in zip(found, sizes, strict=True))
    bare = only_state(verdicts(jobs, recorded=False))
    assert bare == {"right"}
    quick = verdicts(jobs, quick=True)
    assert [(v.state, v.objects, v.rows, v.size) for v in quick] == [("right", 4, 0, 0)] * 2


def only_state(found: list[Verdict]) -> set[str]:
    return {verdict.state for verdict in found}


DAMAGE = {
    "byte": "was altered|was overwritten: its ETag|was overwritten: its version",
    "truncated": "was cut off: it has .* bytes, and had",
    "deleted": "is missing",
}


@pytest.mark.parametrize("quick", [False, True], ids=["read", "quick"])
@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "bare"])
@pytest.mark.parametrize("how", list(DAMAGE))
def test_damage_is_named(one: Archives, how: str, recorded: bool, quick: bool) -> None:
    filled(one, **KEPT).run()
    damage(one, how)
    verdict = only(one, recorded=recorded, quick=quick)
    ((name, what),) = told(verdict)
    assert name == "batch=2.parquet"
    assert re.search(DAMAGE[how], what)
    assert verdict.objects == 4
    assert one.place is not None
    if one.place.bucket().versioned():
        assert "bring back its version" in verdict.findings[0].remedy
    else:
        assert "archive its rows anew" in verdict.findings[0].remedy


def test_what_was_overwritten_is_brought_back(one: Archives) -> None:
    """By the version that the remedy names; then nothing is wrong any more."""
    assert one.place is not None
    filled(one, **KEPT).run()
    key = one.batches()[1]
    before = one.objects()[key]
    damage(one, "byte")
    assert only(one).state == "wrong"
    put(one, key, before)
    verdict = only(one)
    assert (verdict.state, verdict.findings) == ("right", [])
    versioned = one.place.bucket().versioned()
    assert [("written again" in note) for note in verdict.notes] == ([True] if versioned else [])


def test_two_neighbours_are_swapped(jobs: Archives) -> None:
    filled(jobs, **KEPT).run()
    objects, keys = jobs.objects(), jobs.batches()
    put(jobs, keys[1], objects[keys[2]])
    put(jobs, keys[2], objects[keys[1]])
    for recorded in (True, False):
        assert told(only(jobs, recorded=recorded)) == [
            ("batch=2.parquet", "holds what batch=3.parquet is to hold"),
            ("batch=3.parquet", "holds what batch=2.parquet is to hold"),
        ]
    quick = only(jobs, quick=True)
    assert names(quick) == ["batch=2.parquet", "batch=3.parquet"]


def test_nothing_hides_another(one: Archives) -> None:
    assert one.place is not None
    filled(one, rows=200, **KEPT).run()
    one.run(new=True)
    damage(one, "byte", 1)
    damage(one, "truncated", 2)
    damage(one, "deleted", 3)
    folder = one.batches()[0].rpartition("/")[0]
    put(one, f"{folder}/batch=9.parquet", b"one too many")
    put(one, f"{folder}/a note", b"?")
    begun = {"Bucket": one.place.name, "Key": f"{folder}/batch=5.parquet"}
    one.place.client.create_multipart_upload(**begun)
    edit(one, f"{folder}/_receipts.json", lambda d: d["receipts"][3].update(rows=31))
    younger, older = verdicts(one)
    assert (younger.state, younger.findings) == ("right", [])
    assert names(older) == [
        *("_receipts.json", "a note", "batch=1.parquet", "batch=2.parquet", "batch=3.parquet"),
        *("batch=5.parquet", "batch=9.parquet"),
    ]
    what = dict(told(older))
    assert "never finished" in what["batch=5.parquet"]
    assert what["batch=9.parquet"] == "is in no manifest"
    assert what["_receipts.json"] == "contradicts the state database about batch 4: rows"
    assert older.objects == 7


EDITS = {
    "rows": lambda d: (d["batches"][1].update(rows=29), d.update(rows=99)),
    "rows of an object": lambda d: d["batches"][1]["objects"][0].update(rows=29),
    "size": lambda d: d["batches"][1]["objects"][0].update(size=1),
    "sha256": lambda d: d["batches"][1]["objects"][0].update(sha256="0" * 64),
    "digest": lambda d: d["batches"][1]["digest"].update(sum=1),
    "object": lambda d: d["batches"][1].update(objects=d["batches"][2]["objects"]),
    "column": lambda d: d["columns"][1]["type"].update(name="int32"),
    "format": lambda d: d.update(file_format="csv"),
    "run": lambda d: d.update(run="another"),
}


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "bare"])
@pytest.mark.parametrize("repair", [True, False], ids=["repaired", "plain"])
@pytest.mark.parametrize("what", list(EDITS))
def test_the_manifest_was_edited(one: Archives, what: str, repair: bool, recorded: bool) -> None:
    """Exactly the manifest is named: the objects are as they were."""
    filled(one, **KEPT).run()
    edit(one, "_manifest.json", EDITS[what], repair=repair)
    verdict = only(one, recorded=recorded)
    expected = {"_manifest.json"}
    if what == "object" and not recorded:
        # The one that it leaves out is in no manifest then.
        expected.add("batch=2.parquet")
    assert set(names(verdict)) == expected
    assert verdict.recorded == recorded


@pytest.mark.parametrize("field", ["filter", "ddl", "key", "variables", "definition"])
def test_only_the_record_shows_what_no_object_does(one: Archives, field: str) -> None:
    filled(one, **KEPT, where="id <= :last", variables={"last": 90}).run()
    edit(one, "_manifest.json", lambda d: d.update({field: type(d[field])()}), repair=True)
    assert only(one, recorded=False).findings == []
    ((name, what),) = told(only(one))
    assert name == "_manifest.json"
    assert field in what


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"kind": "dsp_airflow archive"}'])
def test_what_is_no_manifest(one: Archives, body: bytes) -> None:
    filled(one, **KEPT).run()
    put(one, key_of(one, "_manifest.json"), body)
    for recorded, objects in ((True, 4), (False, 0)):
        verdict = only(one, recorded=recorded)
        assert names(verdict) == ["_manifest.json"]
        assert verdict.objects == objects


def test_the_manifest_is_missing(one: Archives) -> None:
    assert one.place is not None
    filled(one, **KEPT).run()
    one.place.bucket().delete(key_of(one, "_manifest.json"))
    verdict = only(one)
    assert told(verdict) == [("_manifest.json", "is not there")]
    assert (verdict.objects, verdict.rows) == (4, 100)
    assert "copy task" in verdict.findings[0].remedy
    damage(one, "byte")
    assert names(only(one)) == ["_manifest.json", "batch=2.parquet"]
    assert told(only(one, recorded=False)) == [("_manifest.json", "is not there")]


def test_a_run_that_is_not_finished(one: Archives) -> None:
    run = filled(one, **KEPT).open()
    run.plan("copy")
    put(one, f"a/b/run={run.run.id}/batch=1.parquet", b"so far")
    put(one, "a/b/_dsp.json", b'{"job": "copy", "table": "public.t", "task": "task"}')
    verdict = only(one)
    assert (verdict.state, verdict.findings) == ("unfinished", [])
    assert "not finished" in verdict.notes[0]
    assert names(only(one, recorded=False)) == ["_manifest.json"]
    run.copy("copy")
    assert only(one).state == "right"


def test_an_edited_manifest_and_an_altered_object(one: Archives) -> None:
    """The receipts are neither, whatever the manifest says now."""
    filled(one, **KEPT).run()
    edit(one, "_manifest.json", EDITS["digest"])
    damage(one, "byte")
    verdict = only(one, recorded=False)
    assert names(verdict) == ["_manifest.json", "batch=2.parquet"]
    assert "_receipts.json: contradicts the manifest about batch 2: digest" in verdict.notes[0]


RECEIPTS = {
    "rows": lambda d: d["receipts"][1].update(rows=29),
    "sha256": lambda d: d["receipts"][1]["objects"][0].update(sha256="0" * 64),
    "batch": lambda d: d["receipts"][1].update(batch=7),
    "run": lambda d: d.update(run="another"),
    "kind": lambda d: d.update(kind="?"),
    "list": lambda d: d.update(receipts={}),
}


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "bare"])
@pytest.mark.parametrize("what", list(RECEIPTS))
def test_the_receipts_were_edited(one: Archives, what: str, recorded: bool) -> None:
    filled(one, **KEPT).run()
    edit(one, "_receipts.json", RECEIPTS[what])
    found = set(names(only(one, recorded=recorded)))
    # A list that says nothing contradicts only who knows better.
    assert found == ({"_receipts.json"} if recorded or what != "list" else set())


def test_a_receipt_was_taken_out(one: Archives) -> None:
    assert one.place is not None
    filled(one, **KEPT).run()
    edit(one, "_receipts.json", lambda d: d["receipts"].pop(1))
    assert told(only(one)) == [
        ("_receipts.json", "has no receipt of batch 2, which was read back"),
    ]
    one.place.bucket().delete(key_of(one, "_receipts.json"))
    assert told(only(one)) == [("_receipts.json", "is not there")]
    assert only(one, recorded=False).findings == []


def test_the_folder_names_another_job(one: Archives) -> None:
    filled(one, **KEPT).run()
    put(one, "a/b/_dsp.json", b'{"job": "other", "table": "public.t", "task": "task"}')
    ((name, what),) = told(only(one))
    assert name == "_dsp.json"
    assert "names another job" in what


def test_the_manifest_of_another_run(one: Archives) -> None:
    filled(one, **KEPT).run()
    one.run(new=True)
    keys = sorted(key for key in one.objects() if key.endswith("_manifest.json"))
    put(one, keys[0], one.objects()[keys[1]])
    younger, older = verdicts(one)
    assert younger.findings == []
    ((name, what),) = told(older)
    assert name == "_manifest.json"
    assert "is the manifest of a/b/run=" in what


def test_a_later_check_and_attempt(one: Archives) -> None:
    """What the state database says is what it says now."""
    run = filled(one, **KEPT, check={"percent": 30}).open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    run.check_again("copy", 100)
    assert only(one).findings == []
    run.plan("copy", anew=True)
    run.copy("copy")
    found = verdicts(one)
    assert [(v.at.run, v.recorded, v.findings) for v in found] == [
        (f"{run.run.id}.2", True, []),
        (run.run.id, False, []),
    ]


def test_objects_that_cannot_be_read(one: Archives) -> None:
    """Say nothing about themselves, and hide nothing about the others."""
    assert one.place is not None
    filled(one, rows=270, **KEPT).run()
    damage(one, "byte", 3)

    def fate(method: str, path: str, number: int) -> str:
        if "batch%3D2." in path or "batch=2." in path:
            return "403 AccessDenied"
        return "503" if "batch%3D5." in path or "batch=5." in path else "ok"

    with Storm(one.place.server.port, fate) as storm:
        through(one, storm, attempts=1)
        verdict = only(one)
        assert names(verdict) == ["batch=2.parquet", "batch=3.parquet", "batch=5.parquet"]
        kinds = {f.object.rpartition("/")[2]: f.error for f in verdict.findings}
        assert kinds["batch=2.parquet"] is Denied
        assert kinds["batch=5.parquet"] is Transient
        storm.fate = lambda _method, path, _number: "503" if "batch" in path else "ok"
        verdict = only(one)
    assert verdict.broken_off
    assert len(verdict.findings) == 3


def in_partitions(jobs: Archives, run: str) -> list[str]:
    """Its objects move to where a job with partitions would have put them; returns their keys."""
    assert jobs.place is not None
    moved = {}
    for number in (1, 2, 3, 4):
        key = f"a/b/run={run}/batch={number}.parquet"
        moved[key] = f"a/b/year={2020 + number % 3}/sort=%2F x/run={run}/batch={number}.parquet"
        put(jobs, moved[key], jobs.objects()[key])
        jobs.place.bucket().delete(key)

    def change(document: dict[str, Any]) -> None:
        for batch in document.get("batches") or document["receipts"]:
            for stored in batch["objects"]:
                stored["key"] = moved[stored["key"]]
        if "batches" in document:
            names = ("year", "sort")
            document["partitions"] = [{"name": n, "expression": n} for n in names]

    edit(jobs, f"run={run}/_manifest.json", change, repair=True)
    edit(jobs, f"run={run}/_receipts.json", change)
    return list(moved.values())


def test_partitions(jobs: Archives) -> None:
    filled(jobs, **KEPT)
    runs = sorted([jobs.run().run, jobs.run(new=True).run])  # within a second as chance has it
    keys = [in_partitions(jobs, run) for run in runs][1]
    run = runs[1]
    store = bucket_store(jobs)
    assert jobs.place is not None
    for where in (place(jobs), place_at(f"s3://{jobs.place.name}", store)):
        assert [(p, s) for p, s, _ in listed(where)] == [("a/b", "complete")] * 2
    (at,) = find(place_at(f"s3://{jobs.place.name}/a/b/run={run}", store))
    assert (at.run, at.objects) == (run, 4)
    younger, older = verdicts(jobs, recorded=False)
    assert (younger.state, younger.objects, younger.rows) == ("right", 4, 100)
    assert (older.state, older.notes) == ("right", [])
    put(jobs, keys[0], jobs.objects()[keys[0]][:-1])
    # Neither another archive's below it, nor another run's, is this one's matter.
    put(jobs, f"a/b/deeper/run={run}/batch=1.parquet", b"x")
    stray = f"a/b/year=1999/sort=a/run={run}/batch=1.parquet"
    put(jobs, stray, b"x")
    younger, older = [v for v in verdicts(jobs, recorded=False) if v.at.prefix == "a/b"]
    assert [(f.object, f.what.partition(":")[0]) for f in younger.findings] == [
        (f"s3://{jobs.place.name}/{stray}", "is in no manifest"),
        (f"s3://{jobs.place.name}/{keys[0]}", "was cut off"),
    ]
    assert older.findings == []


def test_disk_is_needed_for_one_object(
    one: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(one, **KEPT).run()
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    most: list[int] = []

    def count(_: object) -> None:
        most.append(len(list(folder.iterdir())))

    (verdict,) = verify(find(place(one)), tell=count)
    assert verdict.state == "right"
    assert most == [0, 0, 0, 0]


# List


def listed(place: Place) -> list[tuple[str, str, str]]:
    return [(one.at.prefix, one.state, one.at.run) for one in opened(find(place))]


def test_the_youngest_attempt_comes_first(plain: Archives) -> None:
    assert plain.place is not None
    names = ["20260101T000000-a", "20260102T000000-a", "20260102T000000-b"]
    names[2:2] = [f"{names[1]}.{attempt}" for attempt in (2, 3, 10, 11)]
    for run in names:
        put(plain, f"a/b/run={run}/batch=1.parquet", b"x")
    found = find(place_at(f"s3://{plain.place.name}/a/b", bucket_store(plain)))
    assert [at.run for at in found] == names[::-1]


PLACES = "{{ task }}/наука x/{{ run_date }}/{{ now:%Y/h=%H }}/{{ job }}"


def test_a_template_names_every_day(jobs: Archives) -> None:
    filled(jobs, **KEPT, target={"prefix": PLACES})
    jobs.run()
    run = jobs.latest().run
    assert run.started_at is not None
    prefix = f"task/наука x/{run.started_at:%Y-%m-%d}/{run.started_at:%Y/h=%H}/copy"
    # None of these is of this job.
    put(jobs, f"task/наука x/2026-01-01/2026/h=1/copy/run={run.id}/_manifest.json", b"{}")
    put(jobs, f"task/наука x/other/copy/run={run.id}/_manifest.json", b"{}")
    put(jobs, f"{prefix}/deeper/run={run.id}/_manifest.json", b"{}")
    assert listed(place(jobs)) == [(prefix, "complete", run.id)]
    store = bucket_store(jobs)
    assert jobs.place is not None
    url = f"s3://{jobs.place.name}"
    every = listed(place_at(url, store))
    assert sorted(state for _, state, _ in every) == ["complete", *["damaged"] * 3]
    assert listed(place_at(f"{url}/{prefix}/run={run.id}/", store)) == [
        (prefix, "complete", run.id)
    ]
    assert listed(place_at(f"{url}/task/наука x", store)) == every


def test_prefixes_that_begin_alike(one: Archives) -> None:
    filled(one, **KEPT, target={"prefix": "a/b"})
    one.run()
    one.write(one.job(**KEPT, target={"prefix": "a/b2"}), name="other")
    one.run()
    assert [prefix for prefix, *_ in listed(place(one))] == ["a/b2"]
    one.write(one.job(**KEPT))
    assert [prefix for prefix, *_ in listed(place(one))] == ["a/b"]


def test_there_is_no_archive(jobs: Archives) -> None:
    filled(jobs, **KEPT)
    with pytest.raises(ConfigError, match="a/b holds no archive"):
        find(place(jobs))
    with pytest.raises(ConfigError, match="create the bucket"):
        find(place_at("s3://nowhere/a/b", bucket_store(jobs)))
    for url in ("s3://", "a/b", "http://x/y", "s3:///a"):
        with pytest.raises(ConfigError, match="write s3://bucket/prefix"):
            place_at(url, bucket_store(jobs))


def test_states_of_runs(one: Archives) -> None:
    assert one.place is not None
    filled(one, **KEPT).run()
    one.run(new=True)
    one.run(new=True)
    edited, unfinished, _ = sorted(k for k in one.objects() if k.endswith("_manifest.json"))
    put(one, edited, one.objects()[edited].replace(b'"rows": 30', b'"rows": 31', 1))
    one.place.bucket().delete(unfinished)
    found = list(opened(find(place(one))))
    assert [(f.state, bool(f.problem), f.at.objects) for f in found] == [
        ("complete", False, 4),
        ("unfinished", False, 4),
        ("damaged", True, 4),
    ]
    first = found[0]
    assert first.manifest is not None
    assert isinstance(first.at, FoundRun)
    assert first.at.size == sum(o.size for b in first.manifest.batches for o in b.objects)
    assert first.at.manifest is not None
    assert first.at.manifest.modified is not None
    assert "was edited" in found[2].problem
