"""Nothing is written before people agreed to it, and nothing but what they agreed to."""

from __future__ import annotations

import contextlib
import inspect
import re
import textwrap
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from sqlalchemy import update

from dsp_airflow.approval import gate
from dsp_airflow.approval.machine import State
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.records import Request
from dsp_airflow.approval.requests import Requests
from dsp_airflow.engine.errors import DspError
from dsp_airflow.operators.estimate import EstimateOperator
from dsp_airflow.operators.sync import TableSyncOperator
from dsp_airflow.sensors.approval import ApprovalSensor
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from dsp_airflow.state.database import open_state, upgrade
from dsp_airflow.state.outbox import Outbox
from dsp_airflow.state.tables import REQUESTS
from tests.dags.conftest import Stepper, World
from tests.engine.scenes import forget_shapes

Build = Callable[..., Stepper]
TASK = """
    name: flights
    owner: data
    retries: 0
    jobs:
      - name: job
        type: warm
        source: {{connection: flights_source, table: public.flights}}
        target: {{connection: flights_target, table: public.flights}}
        where: "delay < :limit"
        variables: {{limit: 1000000}}
        batch_size: 500
        check: {{percent: 100}}
        purge: {purge}
        {extra}
"""
PROCESS = """
name: TwoEyes
task_type: {kind}
levels:
  - name: low
    max_rows: 10
    nodes: [{{automatic: true}}]
  - name: high
    nodes: [{{role: owners}}, {{user: anton}}]
"""


@pytest.fixture(autouse=True)
def enforced(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "processes"
    folder.mkdir()
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "True")
    monkeypatch.setenv("AIRFLOW__DSP__PROCESSES_FOLDER", str(folder))
    Roles(world.state).add("owners", "olga", "test")
    for kind in ("warm", "purge"):
        write(folder, kind)
    return folder


def write(folder: Path, kind: str) -> None:
    text = PROCESS.format(kind=kind).replace("TwoEyes", f"TwoEyes{kind}")
    (folder / f"{kind}.yaml").write_text(text)


def task(purge: str = "system", extra: str = "") -> str:
    return TASK.format(purge=purge, extra=extra)


def requests(world: World) -> Requests:
    return Requests(world.state)


def asked(world: World, step: Stepper) -> Request:
    """The sensor falls asleep over a request."""
    with pytest.raises(TaskDeferred) as sleep:
        step("approval")
    return requests(world).get(sleep.value.trigger.request)


def approve(world: World, request: Request) -> None:
    for user in ("olga", "anton"):
        requests(world).decide(request.id, user, approved=True, digest=request.digest)


def resume(step: Stepper, request: Request) -> None:
    sensor = step.dag.get_task("approval")
    sensor.resume({}, {"request": request.id})


def end_time(world: World, request: Request) -> None:
    """The time that the request has is over."""
    past = world.state.now() - timedelta(hours=1)
    with world.state.write() as connection:
        connection.execute(update(REQUESTS).where(REQUESTS.c.id == request.id).values(until=past))


def approved(world: World, step: Stepper, **form: Any) -> Request:
    step("estimate", **form)
    request = asked(world, step)
    approve(world, request)
    resume(step, request)
    return request


def test_from_the_question_to_the_purge(
    world: World, steps: Build, caplog: pytest.LogCaptureFixture
) -> None:
    world.fill()
    step = steps(task())
    step("estimate")
    with pytest.raises(AirflowFailException, match="nobody was asked to approve flights/by_test"):
        step("job.plan")
    request = asked(world, step)
    assert (request.requester, request.process.name, request.level) == ("anna", "TwoEyeswarm", 1)
    [job] = request.evidence["jobs"]
    assert (job["rows"], job["source"]) == (2500, "public.flights")
    assert job["bytes"] > 2500
    assert any("DELETE FROM" in one and "delay" in one for one in job["statements"])
    assert any("CREATE TABLE" in one for one in job["statements"])
    assert "up to 2,500 rows" in job["deletes"]
    assert {c["source"] for c in job["columns"]} == {"id", "origin", "delay", "at"}
    assert request.evidence["subtypes"] == ["create", "delete", "insert", "update"]
    # Asked again, by a retry, it is the same request; woken without a reason, it sleeps on.
    assert asked(world, step).id == request.id
    with pytest.raises(TaskDeferred):
        resume(step, request)
    with pytest.raises(AirflowFailException, match="APPROVING"):
        step("job.plan")
    requests(world).decide(request.id, "olga", approved=True)
    with pytest.raises(TaskDeferred):
        resume(step, request)
    requests(world).decide(request.id, "anton", approved=True)
    with pytest.raises(AirflowFailException, match="nothing may be written yet"):
        step("job.plan")
    assert world.count() == (2500, 0)
    resume(step, request)
    for name in ("job.plan", "job.copy", "job.check"):
        step(name)
    assert requests(world).get(request.id).state == State.EXECUTING
    step("purge.job")
    assert world.count() == (0, 2500)
    assert requests(world).get(request.id).state == State.EXECUTION_SUCCEEDED
    with pytest.raises(AirflowFailException, match="EXECUTION_SUCCEEDED"):
        step("job.copy")


def test_no_and_too_late_end_the_run_and_say_who_and_why(world: World, steps: Build) -> None:
    world.fill(20)
    step = steps(task())
    step("estimate")
    request = asked(world, step)
    requests(world).decide(request.id, "olga", "not on a Friday", approved=False)
    with pytest.raises(AirflowFailException, match="rejected: by olga: not on a Friday; nothing"):
        resume(step, request)
    # What mails and lists tell of the run.
    assert "rejected: by olga: not on a Friday" in (world.runs.recent()[0].error or "")
    # Who clears the step asks anew.
    second = asked(world, step)
    assert second.number == 2
    end_time(world, second)
    with pytest.raises(AirflowFailException, match="APPROVAL_EXPIRED"):
        resume(step, second)
    third = asked(world, step)
    requests(world).cancel(third.id, "anna", "a mistake")
    with pytest.raises(AirflowFailException, match="cancelled: by anna: a mistake"):
        resume(step, third)
    step.clear("approval")
    with pytest.raises(AirflowFailException, match="cancelled"):
        step("job.plan")
    assert world.count() == (20, 0)


def test_what_was_approved_is_what_is_done(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows, an altered table, another database, an edited file: each voids the approval."""
    world.fill(100)
    step = steps(task(), run_id="rows")
    request = approved(world, step)
    world.source.execute(
        "INSERT INTO flights SELECT 1000 + n, 'x', 1, now() FROM generate_series(1, 21) n"
    )
    with pytest.raises(AirflowFailException, match="121 rows now, and was approved for 100"):
        step("job.plan")
    void = requests(world).get(request.id)
    assert (void.state, void.until) == (State.EXECUTION_FAILED, None)

    step = steps(task(), run_id="within")
    approved(world, step)
    world.source.execute("DELETE FROM flights WHERE id > 1005")
    step("job.plan")

    step = steps(task(), run_id="altered")
    approved(world, step)
    world.source.execute("ALTER TABLE flights ADD COLUMN carrier text")
    with pytest.raises(AirflowFailException, match="is void: job job: its definition, a table"):
        step("job.plan")

    step = steps(task(), run_id="altered_after_plan")
    with open_state() as database:
        forget_shapes(database)
    approved(world, step)
    step("job.plan")
    world.source.execute("ALTER TABLE flights DROP COLUMN carrier")
    with pytest.raises(AirflowFailException, match="altered since the run was planned"):
        step("job.copy")

    step = steps(task(), run_id="elsewhere")
    with open_state() as database:
        forget_shapes(database)
    approved(world, step)
    with monkeypatch.context() as patch:
        patch.setenv(
            "AIRFLOW_CONN_FLIGHTS_TARGET", world.target.uri.replace("/test_", "/postgres?")
        )
        patch.setenv(
            "AIRFLOW_CONN_FLIGHTS_TARGET", re.sub(r"/test_\d+", "/postgres", world.target.uri)
        )
        with pytest.raises(AirflowFailException, match="is void"):
            step("job.plan")

    step = steps(task(), run_id="edited")
    request = approved(world, step)
    world.write("it", task().replace("1000000", "1000001"))
    with pytest.raises(AirflowFailException, match="was edited after run"):
        step("job.plan")
    assert world.count()[1] == 0


def test_a_purge_by_hand_is_a_request_of_its_own(world: World, steps: Build) -> None:
    world.fill(1500)
    step = steps(task("manual"))
    approved(world, step)
    for name in ("job.plan", "job.copy", "job.check"):
        step(name)
    [run] = world.runs.recent()
    form = {"job": "job", "batches": "1-2", "earlier_run": run.id}
    by_hand = steps(task("manual"), "flights__purge", "by_hand")
    with pytest.raises(AirflowFailException, match="nobody was asked"):
        by_hand("purge", **form)
    by_hand("estimate", **form)
    request = asked(world, by_hand)
    assert (request.task_type, request.evidence["subtypes"]) == ("purge", ["delete"])
    [job] = request.evidence["jobs"]
    assert job["deletes"].startswith(
        f"up to 1,000 rows of public.flights (batches 1, 2 of run {run.id})"
    )
    approve(world, request)
    resume(by_hand, request)
    with pytest.raises(AirflowFailException, match=r"batches all of run .* would be deleted"):
        by_hand("purge", **form | {"batches": "all"})
    assert world.count() == (1500, 1500)
    # That voided it; what was approved before may not be done either.
    with pytest.raises(AirflowFailException):
        by_hand("purge", **form)
    again = asked(world, by_hand)
    assert again.number == 2
    approve(world, again)
    resume(by_hand, again)
    assert by_hand("purge", **form)["rows_purged"] == 1000
    assert requests(world).get(again.id).state == State.EXECUTION_SUCCEEDED
    assert world.count() == (500, 1500)


def test_marking_by_hand_is_a_request_of_its_own(world: World, steps: Build) -> None:
    world.fill(1500)
    step = steps(task("manual"))
    approved(world, step)
    for name in ("job.plan", "job.copy", "job.check"):
        step(name)
    [run] = world.runs.recent()
    world.source.execute("DELETE FROM flights WHERE id <= 1000")
    form = {"job": "job", "batches": "1-3", "earlier_run": run.id, "act": "mark_deleted"}
    mark = steps(task("manual"), "flights__purge", "mark")
    with pytest.raises(AirflowFailException, match="nobody was asked"):
        mark("purge", **form)
    with pytest.raises(AirflowFailException, match="act 'drop' is not one of delete, mark_del"):
        mark("estimate", **form | {"act": "drop"})
    request = approved(world, mark, **form)
    assert (request.task_type, request.evidence["subtypes"]) == ("purge", ["delete"])
    assert request.evidence["jobs"][0]["deletes"].startswith("nothing: up to 1,500 rows of ")
    # Who agreed that nothing is deleted has not agreed to a deletion; nor the other way round.
    with pytest.raises(AirflowFailException, match="a purge is a request of its own"):
        mark("purge", **form | {"act": "delete"})
    with pytest.raises(AirflowFailException, match="act 'drop' is not one of"):
        mark("purge", **form | {"act": "drop"})
    assert world.count() == (500, 1500)
    mark.clear("purge")
    with pytest.raises(AirflowFailException, match="batch 3: 500 rows still stand in the source"):
        mark("purge", **form)
    assert requests(world).get(request.id).state == State.EXECUTION_FAILED
    assert world.runs.summary(run.id).jobs[0].rows_gone == 1000
    world.source.execute("DELETE FROM flights")
    mark.clear("purge")
    done = mark("purge", **form)
    assert (done["rows_purged"], done["rows_gone"]) == (0, 1500)
    assert requests(world).get(request.id).state == State.EXECUTION_SUCCEEDED
    begun = audit.recent(world.state, Wanted(actions=["mark"]), 9)
    assert [(one.actor, one.after["batches"]) for one in begun] == [
        ("anna", [3]),
        ("anna", [1, 2]),
    ]
    purge = steps(task("manual"), "flights__purge", "purge")
    purge("estimate", **form | {"act": "delete"})
    # Of no rows, so nobody is asked.
    purge("approval")
    with pytest.raises(AirflowFailException, match="was not approved to mark"):
        purge("purge", **form)


def targets_old_rows(world: World) -> None:
    """The target holds 100 rows of the source and, above them, 40 that it does not have."""
    world.fill(100)
    world.target.execute(
        "CREATE TABLE flights (id bigint PRIMARY KEY, origin text, delay numeric(6,1), "
        "at timestamptz NOT NULL)",
    )
    old_rows(world, 1, 140)


def old_rows(world: World, first: int, last: int) -> None:
    world.target.execute(
        f"INSERT INTO flights SELECT n, 'old', 1, now() FROM generate_series({first}, {last}) n"
    )


def of_all_rows(extra: str) -> str:
    return re.sub("where: .*|variables: .*", "", task("none", extra))


REMOVING = {
    "missing": (
        "delete_missing: {limit: 100}",
        "job.delete_missing",
        (
            "40 of 140 rows of public.flights, whose keys public.flights does not have "
            "(delete_missing, at most 100): each one under lock, as it was seen"
        ),
        "-- missing rows only\nDELETE FROM",
        40,
    ),
    "replaced": (
        "mode: replace",
        "job.swap",
        (
            "the table public.flights with its 140 rows, once a new one with those of "
            "public.flights has taken its place (mode: replace)"
        ),
        "-- the old one, once the new one has its name\nDROP TABLE",
        140,
    ),
}


@pytest.mark.parametrize("kind", REMOVING)
def test_what_a_target_loses_is_shown_and_compared_right_before(
    world: World, steps: Build, kind: str
) -> None:
    key, last, told, statement, rows = REMOVING[kind]
    targets_old_rows(world)
    step = steps(of_all_rows(key))
    first = approved(world, step)
    [job] = first.evidence["jobs"]
    assert job["deletes"] == told
    assert job["removes"] == {"rows": rows, "of": 140}
    assert any(one.startswith(statement) for one in job["statements"])
    assert {"missing": "delete", "replaced": "drop"}[kind] in first.evidence["subtypes"]
    for name in ("job.plan", "job.copy", "job.check"):
        step(name)
    # A fifth more is what was approved, as far as the tolerance goes; one row beyond it is not.
    most = rows + rows // 5
    old_rows(world, 1001, 1001 + most - rows)
    with pytest.raises(
        AirflowFailException,
        match=f"would delete {most + 1} rows of public.flights, and was approved to delete {rows}, "
        "which is more than 20 % off",
    ):
        step(last)
    assert world.target.value("SELECT count(*) FROM flights WHERE id > 100") == 41 + most - rows
    void = requests(world).get(first.id)
    assert (void.state, void.until) == (State.EXECUTION_FAILED, None)
    # Asked anew, and by one row off.
    step = steps(of_all_rows(key), run_id="second")
    second = approved(world, step)
    assert second.evidence["jobs"][0]["removes"]["rows"] == most + 1
    for name in ("job.plan", "job.copy", "job.check"):
        step(name)
    world.target.execute("DELETE FROM flights WHERE id = 1001")
    step(last)
    assert world.count() == (100, 100)
    assert requests(world).get(second.id).state == State.EXECUTION_SUCCEEDED


def test_a_standing_decision_does_not_cover_other_deletions(
    world: World, steps: Build, enforced: Path
) -> None:
    (enforced / "warm.yaml").write_text(
        "name: Once\ntask_type: warm\napprove: definition\nlevels: [{nodes: [{user: olga}]}]\n"
    )
    targets_old_rows(world)

    def run(name: str) -> tuple[Request, Stepper]:
        step = steps(of_all_rows("delete_missing: {limit: 100}"), run_id=name)
        step("estimate")
        with contextlib.suppress(TaskDeferred):
            step("approval")
        found = requests(world).find(f"flights/{name}")
        assert found is not None
        if found.covered_by is None:
            requests(world).decide(found.id, "olga", approved=True)
            resume(step, found)
        for one in ("job.plan", "job.copy", "job.check"):
            step(one)
        return found, step

    first, step = run("first")
    step("job.delete_missing")
    # Where nothing is to go nobody need say so; what comes meanwhile is compared with the decision.
    second, step = run("second")
    assert second.covered_by == first.id
    old_rows(world, 201, 249)
    with pytest.raises(AirflowFailException, match=r"delete 49 rows .* approved to delete 40"):
        step("job.delete_missing")
    world.target.execute("DELETE FROM flights WHERE id > 245")
    third, step = run("third")
    assert third.covered_by == first.id
    step("job.delete_missing")
    old_rows(world, 301, 349)
    fourth, _ = run("fourth")
    assert fourth.covered_by is None


def test_the_time_for_execution_stops_a_copy_at_a_batch_edge(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "LOOK_EVERY", 0.1)
    world.fill(5000)
    step = steps(task("none", "limits: {rows_per_second: 500}"))
    request = approved(world, step)
    step("job.plan")
    # With the first news of batches that are done.
    step.keep = lambda *_: end_time(world, request)
    with pytest.raises(AirflowFailException, match="EXECUTION_EXPIRED: the time for execution"):
        step("job.copy")
    written = world.count()[1]
    assert 0 < written < 5000
    assert written % 500 == 0
    assert requests(world).get(request.id).state == State.EXECUTION_EXPIRED
    assert world.runs.recent()[0].state == "failed"


def test_a_task_that_wants_no_approval_is_refused(world: World, steps: Build) -> None:
    world.fill(5)
    step = steps(task().replace("owner: data", "approval: none"))
    step("estimate")
    with pytest.raises(AirflowFailException, match="approval: none, which is not accepted"):
        step("approval")


def test_a_level_that_passes_by_itself(world: World, steps: Build) -> None:
    world.fill(5)
    step = steps(task())
    step("estimate")
    step("approval")
    step("job.plan")
    assert step("job.copy")["rows_written"] == 5


def test_a_start_by_hand(world: World, steps: Build, enforced: Path) -> None:
    (enforced / "warm.yaml").write_text(
        "name: ByHand\ntask_type: warm\nstart: manual\nlevels: [{nodes: [{automatic: true}]}]\n"
    )
    world.fill(5)
    step = steps(task())
    step("estimate")
    request = asked(world, step)
    assert request.state == State.WAIT_FOR_EXECUTION
    assert requests(world).settled([request.id]) == set()
    with pytest.raises(AirflowFailException, match="nothing may be written yet"):
        step("job.plan")
    with pytest.raises(DspError, match="may not start a request of anna"):
        requests(world).execute(request.id, "olga")
    requests(world).execute(request.id, "anna")
    assert requests(world).settled([request.id]) == {request.id}
    resume(step, request)
    step("job.plan")


def test_a_sensor_that_could_be_skipped_is_none() -> None:
    with pytest.raises(ValueError, match="must fail"):
        ApprovalSensor(task_id="approval", soft_fail=True)
    with pytest.raises(ValueError, match="must fail"):
        ApprovalSensor(task_id="approval", never_fail=True)


BY_HAND = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.python import PythonOperator
from dsp_airflow.operators.estimate import EstimateOperator
from dsp_airflow.operators.sync import TableSyncOperator
from dsp_airflow.sensors.approval import ApprovalSensor

CLEANUP = "DELETE FROM orders WHERE state = 'draft'"

with DAG("clean_up_orders", schedule=None):
    ApprovalSensor(
        task_id="approval",
        asks_for="database_change",
        subtypes=["delete"],
        connections=["shop_pg"],
        definition=CLEANUP,
        statements=1,
    ) >> PythonOperator(task_id="clean_up", python_callable=print, op_args=[CLEANUP])
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("system", ["sqlite", "postgres"])
def test_any_dag_waits_for_its_approval(
    world: World,
    run_dag: Callable[..., Any],
    system: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through Airflow: the sensor sleeps, the trigger watches, the sensor is woken."""
    if system == "postgres":
        url = world.target.sqlalchemy_url
        monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", url)
        upgrade()
    (world.folder / "by_hand.py").write_text(BY_HAND)
    failed: list[BaseException] = []
    over = threading.Event()

    def decide() -> None:
        try:
            with open_state() as state:
                Roles(state).add("administrators", "root", "test")
                while not over.wait(0.2):
                    for waiting in Requests(state).waiting_for("root"):
                        assert waiting.evidence["definition"].startswith("DELETE FROM orders")
                        Requests(state).decide(waiting.id, "root", approved=True)
                        return
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failed.append(error)

    monkeypatch.setattr("dsp_airflow.triggers.approval.LOOK_EVERY", 1.0)
    thread = threading.Thread(target=decide)
    thread.start()
    try:
        run = run_dag("clean_up_orders")
    finally:
        over.set()
        thread.join()
    assert failed == []
    assert run.state == "success"
    with open_state() as state:
        [found] = Requests(state).recent()
        assert (found.task_type, found.process.name) == ("database_change", "builtin")
        assert found.state == State.EXECUTING
        assert Outbox(state).recent() == []


def test_the_example_of_the_sensor_is_a_dag() -> None:
    from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
    from airflow.sdk import DAG

    doc = inspect.getdoc(ApprovalSensor) or ""
    code = textwrap.dedent(doc.partition("::\n")[2].partition(":param")[0])
    names: dict[str, Any] = {
        "DAG": DAG,
        "ApprovalSensor": ApprovalSensor,
        "SQLExecuteQueryOperator": SQLExecuteQueryOperator,
    }
    exec(code.replace("schedule=None):", "schedule=None) as dag:"), names)  # noqa: S102
    tasks = names["dag"].task_dict
    assert tasks["approval"].downstream_task_ids == {"clean_up"}
    assert tasks["approval"].definition == tasks["clean_up"].sql


def test_operators_in_a_dag_of_ones_own(world: World) -> None:
    from airflow.sdk import DAG

    world.fill(20)
    flights: dict[str, Any] = {
        "job": "flights",
        "source": {"connection": "flights_source", "table": "public.flights"},
        "target": {"connection": "flights_target"},
        "check": "none",
    }
    with DAG("own", schedule=None) as dag:
        (
            EstimateOperator(task_id="estimate", **flights)
            >> ApprovalSensor(task_id="approval")
            >> TableSyncOperator(task_id="copy", **flights)
        )
    step = Stepper(dag)
    with pytest.raises(AirflowFailException, match="nobody was asked to approve own/by_test"):
        step("copy")
    step("estimate")
    request = asked(world, step)
    assert (request.task_type, request.task, request.evidence["rows"]) == ("warm", "own", 20)
    approve(world, request)
    resume(step, request)
    with pytest.raises(AirflowFailException, match="is not what request"):
        step("copy", job="others")
    assert world.count() == (20, 0)


def test_an_error_is_never_a_yes(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(20)
    step = steps(task())
    step("estimate")
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "perhaps")
    for name in ("approval", "job.plan"):
        with pytest.raises((AirflowFailException, DspError), match="must be true or false"):
            step(name)


@pytest.mark.parametrize(("given", "kept"), [({}, 3), ({"retries": 0}, 3), ({"retries": 7}, 7)])
def test_what_wakes_up_too_soon_is_tried_again(given: dict[str, int], kept: int) -> None:
    """Whatever the DAG says of its steps; a no fails without a retry all the same."""
    from airflow.sdk import DAG

    with DAG("any", default_args=given):
        step = ApprovalSensor(task_id="approval", asks_for="database_change")
    assert step.retries == kept
