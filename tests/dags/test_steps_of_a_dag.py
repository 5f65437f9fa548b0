"""Single steps as Airflow executes them: ends, retries, clears, stops."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dsp_airflow.approval.settings import NOT_ENFORCED
from dsp_airflow.engine.errors import Terminated, Transient
from dsp_airflow.permissions import settings
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from tests.dags.conftest import Stepper, World

TASK = """
    name: flights
    retries: {retries}
    timeout: {timeout}
    jobs:
      - name: job
        type: warm
        source: {{connection: flights_source, table: public.flights}}
        target: {{connection: flights_target, table: public.flights}}
        batch_size: 500
        shards: {shards}
        check: {{percent: 100}}
        purge: {purge}
        {extra}
"""
Build = Callable[..., Stepper]


def task(
    purge: str = "system", retries: int = 0, shards: int = 1, extra: str = "", timeout: str = "24h"
) -> str:
    return TASK.format(purge=purge, retries=retries, shards=shards, extra=extra, timeout=timeout)


def ready(step: Stepper) -> Stepper:
    for name in ("estimate", "approval", "job.plan"):
        step(name)
    return step


def test_steps_return_ids_and_counts(world: World, steps: Build) -> None:
    world.fill()
    step = steps(task())
    estimated = step("estimate")
    [run] = world.runs.recent()
    assert estimated == {"run": run.id, "rows": {"job": 2500}}
    assert (run.state, run.triggered_by) == ("planned", "anna")
    step("approval")
    step("job.plan")
    copied = step("job.copy")
    assert copied["rows_written"] == 2500
    step("job.check")
    assert world.runs.get(run.id).state == "running"
    purged = step("purge.job")
    assert purged == {
        "run": run.id,
        "job": "job",
        "rows_total": 2500,
        "rows_written": 2500,
        "rows_checked": 2500,
        "rows_different": 0,
        "rows_purged": 2500,
        "rows_kept": 0,
        "batches": 5,
    }
    assert world.runs.get(run.id).state == "succeeded"
    assert ("progress", {"phase": "purge", "job": "job", "done": True}) in step.kept


def test_log_lines_of_a_copy(
    world: World, steps: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    world.fill(50_000)
    step = ready(steps(task().replace("batch_size: 500", "batch_size: 1000")))
    capsys.readouterr()
    step("job.copy")
    lines = re.findall(
        r"\[info +\] (.*?) +\[airflow\.task\.operators\.\S+\.TableSyncOperator\]",
        capsys.readouterr().out,
    )
    # Where these are off every step says so.
    assert lines[:2] == [settings.NOT_ENFORCED, NOT_ENFORCED]
    assert lines[2:] == [
        "Starting sync job: job",
        "Fetching records from source: public.flights",
        "Total records: 50,000",
        *(f"Processing batch {n}/50 (1000 records)" for n in range(1, 51)),
        "Sync completed. Total: 50,000, Success: 50,000, Failed: 0",
    ]


def test_shards_share_a_job(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task("none", shards=2)))
    step("job.copy", shard=1)
    step("job.copy", shard=2)
    step("job.check", shard=1)
    assert step("job.check", shard=2)["rows_checked"] == 2500
    assert world.runs.recent()[0].state == "succeeded"


def test_what_the_source_does_not_have_goes_last(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task("none", extra="delete_missing: {limit: 5}")))
    downstream = {t.task_id: set(t.downstream_task_ids) for t in step.dag.tasks}
    assert downstream["job.check"] == {"job.delete_missing"}
    step("job.copy")
    assert not step.dag.get_task("job.check").outlets
    step("job.check")
    world.target.execute("INSERT INTO flights VALUES (-1, 'JFK', 1, now())")
    assert world.runs.recent()[0].state == "running"
    assert step("job.delete_missing")["rows_deleted"] == 1
    assert world.runs.recent()[0].state == "succeeded"
    assert world.target.value("SELECT count(*) FROM flights") == 2500


def test_a_target_is_replaced_by_a_step_of_its_own(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task("none", shards=2, extra="mode: replace")))
    assert [t.task_id for t in step.dag.tasks if t.outlets] == ["job.swap"]
    assert step.dag.get_task("job.check").downstream_task_ids == {"job.swap"}
    for shard in (1, 2):
        step("job.copy", shard=shard)
    for shard in (1, 2):
        step("job.check", shard=shard)
    assert world.runs.recent()[0].state == "running"
    assert world.count() == (2500, 0)
    assert step("job.swap")["rows_checked"] == 2500
    assert world.count() == (2500, 2500)
    assert world.runs.recent()[0].state == "succeeded"
    # Cleared once more, it has nothing to do.
    step("job.swap")


def test_missing_table_fails_before_approval_without_retry(world: World, steps: Build) -> None:
    step = steps(task(retries=3))
    with pytest.raises(AirflowFailException, match=r"public\.flights"):
        step("estimate")


def test_wrong_password_fails_without_retry(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill()
    world.source.execute(
        "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN PASSWORD 'right-one'"
    )
    wrong = re.sub(r"//[^@]*@", "//guest:wrong-one@", world.source.uri)
    monkeypatch.setenv("AIRFLOW_CONN_FLIGHTS_SOURCE", wrong)
    step = steps(task(retries=3))
    with pytest.raises(AirflowFailException) as caught:
        step("estimate")
    assert "flights_source" in str(caught.value)
    assert "correct login and password" in str(caught.value)
    assert "wrong-one" not in str(caught.value)
    world.source.execute("DROP ROLE guest")


def test_unknown_connection_names_the_remedy(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_FLIGHTS_TARGET")
    with pytest.raises(AirflowFailException, match="set AIRFLOW_CONN_FLIGHTS_TARGET"):
        steps(task())("estimate")


def test_unreachable_host_is_tried_again(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill()
    step = ready(steps(task(retries=1)))
    monkeypatch.setenv("AIRFLOW_CONN_FLIGHTS_TARGET", "postgresql://a:b@127.0.0.1:1/x")
    with pytest.raises(Transient, match="cannot connect"):
        step("job.copy")
    assert world.runs.recent()[0].state == "running"
    with pytest.raises(Transient, match="cannot connect"):
        step("job.copy")
    run = world.runs.recent()[0]
    assert run.state == "failed"
    assert "cannot connect" in (run.error or "")


def test_missing_state_database_names_the_remedy(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", f"sqlite:///{world.folder}/none.db")
    with pytest.raises(AirflowFailException, match="dsp db upgrade"):
        steps(task())("estimate")


def test_sqlite_state_with_a_remote_executor_is_refused(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor,CeleryExecutor")
    with pytest.raises(AirflowFailException, match="CeleryExecutor cannot share"):
        steps(task())("estimate")


def test_edited_file_is_refused(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task()))
    world.write("it", task(extra='where: "id < 10"'))
    with pytest.raises(AirflowFailException, match="edited"):
        step("job.copy")
    assert world.count() == (2500, 0)


def test_removed_file_says_so(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task()))
    world.write("it", task()).unlink()
    with pytest.raises(AirflowFailException, match="renamed or removed"):
        step("job.copy")
    [run] = world.runs.recent()
    assert (run.state, "renamed or removed" in (run.error or "")) == ("failed", True)


def test_a_broken_file_says_where(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task()))
    path = world.write("it", task(extra="wher: x"))
    with pytest.raises(AirflowFailException, match=rf"{path}:\d+:\d+: jobs\[0\].wher"):
        step("job.copy")


def test_a_progress_store_that_fails_is_asked_once(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task()))
    asked = []

    def broken(*values: Any) -> None:
        asked.append(values)
        raise OSError("no store")

    step.keep = broken
    assert step("job.copy")["rows_written"] == 2500
    assert len(asked) == 1


def test_a_time_that_the_run_does_not_have(world: World, steps: Build) -> None:
    world.fill()
    extra = 'where: "at < :end"\n        variables: {end: data_interval_end}'
    step = steps(task(extra=extra))
    with pytest.raises(AirflowFailException, match="needs data_interval_end"):
        step("estimate")
    assert "needs data_interval_end" in (world.runs.recent()[0].error or "")


def test_difference_fails_without_retry_and_nothing_is_purged(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task(retries=3)))
    step("job.copy")
    world.target.execute("UPDATE flights SET origin = 'XXX' WHERE id = 77")
    with pytest.raises(AirflowFailException, match=r"1 rows differ.*77.*origin"):
        step("job.check")
    assert world.runs.recent()[0].state == "failed"
    with pytest.raises(AirflowFailException, match="waits"):
        step("purge.job")
    assert world.count() == (2500, 2500)


def test_a_cleared_check_looks_again_at_what_differed(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task("none")))
    step("job.copy")
    world.target.execute("UPDATE flights SET origin = 'XXX' WHERE id = 77")
    with pytest.raises(AirflowFailException):
        step("job.check")
    origin = world.source.value("SELECT origin FROM flights WHERE id = 77")
    world.target.execute(f"UPDATE flights SET origin = '{origin}' WHERE id = 77")
    step.clear("job.check")
    assert step("job.check")["rows_different"] == 0
    [run] = world.runs.recent()
    assert (run.state, run.error) == ("succeeded", None)
    assert world.runs.differences(run.id) == []


def test_a_cleared_estimate_goes_on(world: World, steps: Build) -> None:
    step = steps(task())
    with pytest.raises(AirflowFailException):
        step("estimate")
    [run] = world.runs.recent()
    assert (run.state, "public.flights" in (run.error or "")) == ("failed", True)
    world.fill()
    step.clear("estimate")
    ready(step)
    assert world.runs.get(run.id).state == "running"
    for name in ("job.copy", "job.check", "purge.job"):
        step(name)
    assert world.runs.get(run.id).state == "succeeded"


def test_unforeseen_errors_are_tried_again_except_around_a_delete(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsp_airflow.engine import check, purge, transfer

    world.fill()

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("unforeseen")

    step = ready(steps(task(retries=3)))
    for module, name, task_id in (
        (transfer, "copy", "job.copy"),
        (check, "check", "job.check"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, broken)
            with pytest.raises(ZeroDivisionError):
                step(task_id)
        step(task_id)
    monkeypatch.setattr(purge, "purge", broken)
    with pytest.raises(AirflowFailException, match="unforeseen"):
        step("purge.job")


def test_cleared_copy_resumes(world: World, steps: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    from dsp_airflow.engine import transfer

    world.fill()
    step = ready(steps(task()))
    original = transfer.copy_batch
    done: list[object] = []

    def third_fails(*args: Any, **values: Any) -> Any:
        if len(done) == 2:
            raise Transient("the world was in the way")
        done.append(args)
        return original(*args, **values)

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "copy_batch", third_fails)
        with pytest.raises(Transient):
            step("job.copy")
    run = world.runs.recent()[0]
    assert (run.state, run.attempt) == ("failed", 1)
    assert world.count() == (2500, 1000)
    copied: list[object] = []

    def counted(*args: Any, **values: Any) -> object:
        copied.append(args)
        return original(*args, **values)

    monkeypatch.setattr(transfer, "copy_batch", counted)
    step.clear("job.copy")
    step("job.copy")
    assert len(copied) == 3
    assert world.count() == (2500, 2500)
    run = world.runs.recent()[0]
    assert (run.state, run.attempt) == ("running", 2)
    assert world.runs.job(run.id, "job").attempt == 1


def test_cleared_plan_begins_a_new_attempt_and_a_retry_does_not(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task("none", retries=2)))
    for name in ("job.copy", "job.check"):
        step(name)
    run = world.runs.recent()[0]
    assert run.state == "succeeded"
    step("job.plan")  # a second try without a clear
    assert world.runs.job(run.id, "job").attempt == 1
    world.source.execute("INSERT INTO flights VALUES (9999, 'LGA', 1, now())")
    step.clear("job.plan", "job.copy", "job.check")
    assert step("job.plan")["rows_total"] == 2501
    assert world.runs.job(run.id, "job").attempt == 2
    step("job.copy")
    step("job.check")
    assert world.count() == (2501, 2501)
    assert world.runs.get(run.id).state == "succeeded"


def test_another_jobs_step_does_not_reopen_a_failed_run(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task()))
    run = world.runs.recent()[0]
    world.runs.finish(run.id, "failed", "another job failed")
    step("job.copy")
    again = world.runs.get(run.id)
    assert (again.state, again.error, again.attempt) == ("failed", "another job failed", 1)


def test_on_kill_stops_at_a_batch_edge_and_a_retry_goes_on(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsp_airflow.engine import transfer

    world.fill()
    step = ready(steps(task(retries=1)))
    original = transfer.copy_batch

    def killed(*args: Any, **values: Any) -> Any:
        step.dag.get_task("job.copy").on_kill()
        return original(*args, **values)

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "copy_batch", killed)
        with pytest.raises(Terminated, match="Airflow asked"):
            step("job.copy")
    assert world.count() == (2500, 500)
    step = ready(steps(task(retries=1)))
    step("job.copy")
    assert world.count() == (2500, 2500)


def test_a_requested_stop_fails_without_retry(world: World, steps: Build) -> None:
    world.fill()
    step = ready(steps(task(retries=3)))
    run = world.runs.recent()[0]
    world.runs.request_stop(run.id, "ann", "wrong table")
    with pytest.raises(AirflowFailException, match="ann asked it to stop: wrong table"):
        step("job.copy")
    assert world.runs.get(run.id).state == "terminated"


def test_timeout_stops_at_a_batch_edge(world: World, steps: Build) -> None:
    world.fill()
    step = steps(task(timeout="1s"))
    step.dag_run.start_date += timedelta(hours=1)  # only the later of both starts counts
    ready(step)
    step.dag_run.start_date -= timedelta(hours=2)
    import time

    time.sleep(1.2)
    with pytest.raises(AirflowFailException, match="timeout of 0:00:01 is over"):
        step("job.copy")
    assert world.runs.recent()[0].state == "terminated"


def copied(world: World, steps: Build, purge: str = "manual") -> str:
    step = ready(steps(task(purge)))
    step("job.copy")
    step("job.check")
    return world.runs.recent()[0].id


def test_manual_deletion_of_batches(world: World, steps: Build) -> None:
    world.fill()
    run = copied(world, steps)
    assert world.runs.get(run).state == "succeeded"
    step = steps(task("manual"), "flights__purge", "by_hand")
    step("approval")
    values = {"job": "job", "earlier_run": "latest"}
    assert step("purge", batches="1-2,4", **values)["rows_purged"] == 1500
    assert world.count() == (1000, 2500)
    assert step("purge", batches="all", **values)["rows_purged"] == 2500
    assert world.count() == (0, 2500)
    assert [r.id for r in world.runs.recent()] == [run]
    begun = audit.recent(world.state, Wanted(actions=["purge"]), 9)
    assert {(one.actor, one.object) for one in begun} == {("anna", f"run {run} job job")}
    assert [one.after["batches"] for one in begun] == ["all", [1, 2, 4]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batches": "6"}, "batches 1 to 5; there is no batch 6"),
        ({"batches": "1-"}, "batches '1-'"),
        ({"batches": "all", "earlier_run": "none"}, "no run none"),
        ({"batches": "all", "job": "other"}, "no job 'other'"),
    ],
)
def test_manual_deletion_of_what_is_not_there(
    world: World, steps: Build, values: dict[str, str], message: str
) -> None:
    world.fill(2500)
    copied(world, steps)
    step = steps(task("manual"), "flights__purge", "by_hand")
    with pytest.raises(AirflowFailException, match=message):
        step("purge", **{"job": "job", "earlier_run": "latest", **values})
    assert world.count() == (2500, 2500)
