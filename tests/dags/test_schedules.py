"""When tasks run, by Airflow's own timetables; and that the command line tells the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dsp_airflow.config.cron import next_time
from tests.dags.test_parsing import bag_of, folder, task

__all__ = ["folder"]
VIENNA = "Europe/Vienna"


def as_scheduled(folder: Path, schedule: str) -> Any:
    """The DAG as the scheduler has it."""
    from airflow.serialization.serialized_objects import DagSerialization

    (folder / "tasks" / "it.yaml").write_text(task("it", extra=f"schedule: {schedule}"))
    dag = bag_of(folder).dags["it"]
    return DagSerialization.from_dict(DagSerialization.to_dict(dag))


def next_run(dag: Any, after: datetime | None, earliest: datetime | None = None) -> datetime | None:
    import pendulum
    from airflow.timetables.base import DataInterval, TimeRestriction

    last = None if after is None else DataInterval.exact(pendulum.instance(after))
    start = None if earliest is None else pendulum.instance(earliest)
    found = dag.timetable.next_dagrun_info(
        last_automated_data_interval=last,
        restriction=TimeRestriction(start, None, catchup=True),
    )
    return None if found is None else datetime.fromtimestamp(found.run_after.timestamp(), UTC)


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("30 2 * * *", "2026-12-01T02:30+01:00", "2026-12-02T02:30:00+01:00"),
        ("*/15 * * * *", "2026-12-01T02:16+00:00", "2026-12-01T03:30:00+01:00"),
        ("0 0 29 2 *", "2026-12-01T00:00+00:00", "2028-02-29T00:00:00+01:00"),
        # Either of the two days.
        ("0 6 13 * fri", "2026-12-01T00:00+00:00", "2026-12-04T06:00:00+01:00"),
        ("0 6 * * 7", "2026-12-01T00:00+00:00", "2026-12-06T06:00:00+01:00"),
        # Clocks go forward at 2:00, and back at 3:00.
        ("30 2 * * *", "2026-03-28T12:00+00:00", "2026-03-29T03:30:00+02:00"),
        ("30 2 * * *", "2026-03-29T12:00+00:00", "2026-03-30T02:30:00+02:00"),
        ("30 2 * * *", "2026-10-24T12:00+00:00", "2026-10-25T02:30:00+01:00"),
        ("30 * * * *", "2026-10-24T23:31+00:00", "2026-10-25T02:30:00+02:00"),
        ("30 * * * *", "2026-10-25T00:31+00:00", "2026-10-25T02:30:00+01:00"),
    ],
)
def test_cron_by_the_clocks_of_airflows_zone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cron: str, after: str, expected: str
) -> None:
    import pendulum
    from airflow import settings

    monkeypatch.setattr(settings, "TIMEZONE", pendulum.timezone(VIENNA))
    dag = as_scheduled(folder, f'"{cron}"')
    moment = datetime.fromisoformat(after).astimezone(UTC)
    assert next_run(dag, moment) == datetime.fromisoformat(expected)
    told = next_time(cron, moment, ZoneInfo(VIENNA))
    assert told is not None
    assert told.isoformat() == expected
    assert not dag.catchup


def test_a_one_off_runs_once_also_when_its_time_has_passed(folder: Path) -> None:
    for text in ("2020-03-29T02:30+07:00", "2999-01-01T00:00Z"):
        dag = as_scheduled(folder, f"{{once: {text}}}")
        moment = datetime.fromisoformat(text)
        assert next_run(dag, None, dag.start_date) == moment
        # Once it has run, another time in the file begins no second run.
        assert next_run(dag, moment, datetime(2999, 12, 31, tzinfo=UTC)) is None


def test_a_manual_task_runs_when_somebody_says_so(folder: Path) -> None:
    assert next_run(as_scheduled(folder, "manual"), None) is None
