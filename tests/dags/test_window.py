"""A task leaves its worker while its job's window is closed, and goes on in the same try."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout, TaskDeferred

from dsp_airflow.standing import standing
from dsp_airflow.state import stops
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.state.records import Run
from dsp_airflow.triggers import window
from dsp_airflow.triggers.window import WindowTrigger
from tests.dags.conftest import Stepper, World
from tests.dags.test_steps_of_a_dag import Build, copied, ready, task
from tests.engine.test_rates import shut

OPEN = "00:00-23:59"
NOW = "2026-12-01T00:00:00+00:00"


def left(step: Stepper, task_id: str, **changes: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        step(task_id, **changes)
    return caught.value


def fired(deferred: TaskDeferred, seconds: float = 10) -> str:
    """By a trigger that was made anew of what Airflow keeps of it."""
    path, values = deferred.trigger.serialize()
    assert path == "dsp_airflow.triggers.window.WindowTrigger"

    async def first() -> Any:
        return await anext(WindowTrigger(**values).run())

    return str(asyncio.run(asyncio.wait_for(first(), seconds)).payload)


def set_window(world: World, value: str | None, run: Run | None = None) -> None:
    run = run or world.runs.recent()[0]
    LimitChanges(world.state, run.id).set(None, {"window": value}, "ann")


def test_every_phase_and_every_shard_leaves_and_comes_back(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "LOOK_EVERY", 0.1)
    world.fill()
    step = ready(steps(task(shards=2, extra=f"limits: {{window: '{shut()}'}}")))
    [run] = world.runs.recent()
    for phase in ("job.copy", "job.check"):
        gone = [left(step, phase, shard=shard) for shard in (1, 2)]
        [note] = standing(world.runs, world.runs.get(run.id))
        assert note.text.startswith("waiting for the window until ")
        found = world.runs.batches(run.id, "job")
        assert [b.holder for b in found] == [None] * 5
        set_window(world, None)
        for shard, deferred in enumerate(gone, 1):
            assert fired(deferred) == "open"
            step.resume(phase, deferred, "open", shard=shard)
        set_window(world, shut())
    assert world.count() == (2500, 2500)
    deferred = left(step, "purge.job")
    set_window(world, OPEN)
    assert fired(deferred) == "open"
    assert step.resume("purge.job", deferred, "open")["rows_purged"] == 2500
    assert world.runs.get(run.id).state == "succeeded"
    assert world.runs.get(run.id).attempt == 1
    # A try is counted when it begins, not when it goes on.
    assert {tried for tried, _ in step.tries.values()} == {1, 2}


def test_a_stop_is_heard_without_a_worker(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "LOOK_EVERY", 0.1)
    world.fill()
    step = ready(steps(task(retries=3, extra=f"limits: {{window: '{shut()}'}}")))
    [run] = world.runs.recent()
    deferred = left(step, "job.copy")
    threading.Timer(0.3, world.runs.request_stop, (run.id, "ann", "not tonight")).start()
    assert fired(deferred) == "stopped"
    with pytest.raises(AirflowFailException, match="ann asked it to stop: not tonight"):
        step.resume("job.copy", deferred, "stopped")
    assert world.runs.get(run.id).state == "terminated"
    assert world.runs.job(run.id, "job").state == "terminated"
    step.clear("job.copy")
    set_window(world, None)
    assert step("job.copy")["rows_written"] == 2500


def test_a_run_that_was_ended_meanwhile_does_not_come_back(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task(retries=3, extra=f"limits: {{window: '{shut()}'}}")))
    step.tries["job.copy"] = (1, 3)
    deferred = left(step, "job.copy")
    [run] = world.runs.recent()
    world.runs.request_stop(run.id, "ann")
    world.runs.finish(run.id, "terminated")
    with pytest.raises(AirflowFailException, match="has ended: ann asked it to stop; clear it"):
        step.resume("job.copy", deferred, "stopped")
    assert world.runs.get(run.id).attempt == 1


def test_a_purge_by_hand_comes_back_to_its_run_and_hears_what_is_asked_later(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "LOOK_EVERY", 0.1)
    world.fill()
    run = copied(world, steps)
    # What stopped an earlier purge of it is over.
    world.runs.move(run, "job", "purging")
    stops.seen(world.state, run, "job")
    assert world.runs.request_stop(run, "ben", "an earlier one")
    [old] = world.runs.recent()
    set_window(world, shut(), old)
    step = steps(task("manual"), "flights__purge", "by_hand")
    values = {"job": "job", "earlier_run": "latest"}
    deferred = left(step, "purge", batches="1", **values)
    with pytest.raises(TimeoutError):
        fired(deferred, 0.5)
    ready(steps(task("manual"), run_id="newer"))
    set_window(world, None, old)
    assert fired(deferred) == "open"
    done = step.resume("purge", deferred, "open", batches="1", **values)
    assert (done["run"], done["rows_purged"]) == (run, 500)

    set_window(world, shut(), old)
    deferred = left(step, "purge", batches="2", job="job", earlier_run=run)
    threading.Timer(0.3, world.runs.request_stop, (run, "ann", "not tonight")).start()
    assert fired(deferred) == "stopped"
    with pytest.raises(AirflowFailException, match="ann asked it to stop: not tonight"):
        step.resume("purge", deferred, "stopped", batches="2", job="job", earlier_run=run)
    assert world.count() == (2000, 2500)


def test_the_window_counts_while_the_state_database_is_out_of_reach(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "LOOK_EVERY", 0.1)
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", "sqlite:////nowhere/state.db")

    async def first(text: str) -> Any:
        return await asyncio.wait_for(anext(WindowTrigger("r", "job", text, NOW).run()), 0.5)

    assert asyncio.run(first(OPEN)).payload == "open"
    with pytest.raises(TimeoutError):
        asyncio.run(first(shut()))


def test_only_work_counts_for_the_execution_timeout(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task(extra=f"limits: {{window: '{shut()}'}}")))
    step.dag.get_task("job.copy").execution_timeout = timedelta(seconds=60)
    deferred = left(step, "job.copy")
    assert 0 < (deferred.kwargs or {})["worked"] < 60
    time.sleep(0.1)
    again = left_again(step, deferred)
    assert (deferred.kwargs or {})["worked"] < (again.kwargs or {})["worked"] < 60
    again.kwargs = {"worked": 60.0}
    with pytest.raises(AirflowTaskTimeout):
        step.resume("job.copy", again, "open")
    set_window(world, None)
    again.kwargs = {"worked": 1.0}
    assert step.resume("job.copy", again, "open")["rows_written"] == 2500


def left_again(step: Stepper, deferred: TaskDeferred) -> TaskDeferred:
    """The window was closed once more before a batch could begin."""
    with pytest.raises(TaskDeferred) as caught:
        step.resume("job.copy", deferred, "open")
    return caught.value


WINDOWED = """
    name: nightly
    retries: 2
    jobs:
      - name: flights
        type: warm
        source: {{connection: flights_source, table: public.flights}}
        target: {{connection: flights_target, table: public.flights}}
        batch_size: 500
        shards: 2
        limits: {{window: '{window}'}}
        check: none
"""


def test_a_whole_dag_waits_for_its_window(
    world: World, run_dag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "LOOK_EVERY", 0.1)
    world.fill()
    world.write("nightly", WINDOWED.format(window=shut()))
    told: list[str] = []

    def someone() -> None:
        while not told:
            time.sleep(0.2)
            for run in world.runs.recent():
                told.extend(str(note) for note in standing(world.runs, run))
        set_window(world, None)

    beside = threading.Thread(target=someone)
    beside.start()
    dag_run = run_dag("nightly")
    beside.join(30)
    assert told[0].startswith("flights: waiting for the window until ")
    assert dag_run.state == "success"
    assert world.count() == (2500, 2500)
    copies = [t for t in dag_run.get_task_instances() if t.task_id == "flights.copy"]
    assert [(t.try_number, t.max_tries) for t in copies] == [(1, 2), (1, 2)]
    [run] = world.runs.recent()
    assert (run.state, run.attempt) == ("succeeded", 1)


def test_a_step_sleeps_for_a_while_at_least(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However soon the window opens: else its scheduler may take it for killed."""
    monkeypatch.setattr("dsp_airflow.triggers.rest.LEAST", 1.0)
    world.fill()
    step = ready(steps(task(extra=f"limits: {{window: '{shut()}'}}")))
    deferred = left(step, "job.copy")
    set_window(world, None)
    began = time.monotonic()
    assert fired(deferred) == "open"
    assert time.monotonic() - began >= 1.0
