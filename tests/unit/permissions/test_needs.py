"""What work touches, by what the task file says."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.config.tasks import Task
from dsp_airflow.permissions import needs
from dsp_airflow.permissions.needs import Place, Touch

SOURCE, TARGET = Place("pg", "public.t"), Place("wh", "dw.t")


def task(**job: Any) -> Task:
    values: dict[str, Any] = {
        "name": "copy",
        "type": "warm",
        "source": {"connection": "pg", "table": "public.t"},
        "target": {"connection": "wh", "table": "dw.t"},
        "check": {"percent": 100},
        **job,
    }
    return Task.model_validate({"name": "shop", "owner": "olga", "jobs": [values]})


@pytest.mark.parametrize(
    ("job", "more"),
    [
        ({}, []),
        ({"purge": "manual"}, []),
        ({"purge": "system"}, [Touch("purge", SOURCE)]),
        ({"mode": "replace"}, [Touch("purge", TARGET)]),
        ({"delete_missing": {"limit": 5}}, [Touch("purge", TARGET)]),
        (
            {"limits": {"replica_lag": {"max": "10s", "connections": ["spare"]}}},
            [Touch("read", Place("spare"))],
        ),
    ],
)
def test_a_run_reads_writes_and_deletes(job: dict[str, Any], more: list[Touch]) -> None:
    found = needs.of_run(task(**job))
    assert found[:2] == [Touch("read", SOURCE), Touch("write", TARGET)]
    assert found[2:] == more
    looked = needs.of_looking(task(**job), task(**job).jobs)
    assert {one.privilege for one in looked} == {"read"}
    assert {one.place for one in looked} == {one.place for one in found}


def test_all_jobs_of_a_task_count_and_a_purge_by_hand_is_of_one() -> None:
    jobs = [
        {
            "name": f"j{n}",
            "type": "warm",
            "source": {"connection": "pg", "table": f"t{n}"},
            "target": {"connection": "wh"},
            "purge": "manual",
        }
        for n in (1, 2)
    ]
    two = Task.model_validate({"name": "shop", "jobs": jobs})
    assert [one.place.table for one in needs.of_run(two)] == ["t1", "t1", "t2", "t2"]
    assert needs.of_purge(two.jobs[1]) == [Touch("purge", Place("pg", "t2"))]


def test_an_archive_and_a_restore() -> None:
    archive = task(
        type="s3",
        target={"connection": "s3", "bucket": "cold", "prefix": "cold/{{ run_date }}"},
        purge="system",
    )
    folder = Place("s3", bucket="cold", prefix="cold")
    assert needs.of_run(archive) == [
        Touch("read", SOURCE),
        Touch("write", folder),
        Touch("purge", SOURCE),
    ]
    assert needs.of_archive(archive, archive.jobs[0]) == [Touch("read", folder)]
    restore = task(
        type="restore",
        source={"connection": "s3", "bucket": "cold", "manifest": "cold/run=1/_manifest.json"},
    )
    assert needs.of_run(restore) == [Touch("read", folder), Touch("write", TARGET)]
    assert needs.at_address("s3", "s3://cold/cold/run=1/_manifest.json") == folder
    for address in ("s3://cold", "s3://cold/_manifest.json", "s3://cold/run=1/_manifest.json"):
        assert needs.at_address("s3", address) == Place("s3", bucket="cold")


@pytest.mark.parametrize(
    ("prefix", "folder"),
    [
        ("a/b", "a/b"),
        ("a/{{ task }}/{{ job }}", "a/shop/copy"),
        ("a/b/{{ run_date }}", "a/b"),
        ("a/b-{{ run_date }}/c", "a"),
        ("a/{{ job }}/x{{ now:%Y/%m }}", "a/copy"),
        ("{{ run_date }}/a", None),
        ("a{{ run_date }}", None),
    ],
)
def test_a_prefix_is_granted_up_to_where_a_run_completes_it(
    prefix: str, folder: str | None
) -> None:
    assert needs.fixed_prefix(prefix, "shop", "copy") == folder
