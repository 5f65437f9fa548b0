"""Building DAGs: one bad file hurts one task, nothing is connected to, workers load one file."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.task.weight_rule import WeightRule

from dsp_airflow.config.definition import normalise
from dsp_airflow.config.hours import parse_window
from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.errors import Terminated
from dsp_airflow.engine.pace import BatchEdgePace
from dsp_airflow.operators.base import DeadlinePace
from dsp_airflow.step_ids import steps_of
from tests.dags.conftest import LOADER

FILES = 500
BROKEN = 137


def task(name: str, purge: str = "none", extra: str = "") -> str:
    return f"""\
name: {name}
{extra}
jobs:
  - name: flights
    type: warm
    source: {{connection: s, table: public.flights}}
    target: {{connection: t, table: public.flights}}
    purge: {purge}
"""


@pytest.fixture
def folder(airflow_db: Path, tmp_path: Path) -> Path:
    """A DAG folder with the loader and no task yet."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "dsp_tasks.py").write_text(LOADER.read_text())
    return tmp_path


@pytest.fixture
def many(folder: Path) -> Path:
    """500 task files, one of them broken, every tenth with manual deletion."""
    for number in range(FILES):
        purge = "manual" if number % 10 == 0 else "none"
        text = task(f"task_{number}", purge)
        if number == BROKEN:
            text = text.replace("purge: none", "purge: nonne")
        # With a check there is a DAG more, which repairs what it found.
        text = text.replace("purge: none", "purge: none\n    check: none")
        (folder / "tasks" / f"{number:03}.yaml").write_text(text)
    return folder


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket and no SQLite connection can be opened."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("parsing connects to something")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(sqlite3, "connect", refuse)


def bag_of(folder: Path, **values: Any) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(folder, **values)


def processed(folder: Path) -> Any:
    """What the DAG processor gets from the loader's file."""
    import structlog
    from airflow.dag_processing.processor import DagFileParseRequest, _parse_file

    request = DagFileParseRequest(
        file=str(folder / "dsp_tasks.py"), bundle_path=folder, bundle_name="dags-folder"
    )
    return _parse_file(request, structlog.get_logger())


def test_one_broken_file_of_500_is_one_import_error(many: Path, sealed: None) -> None:
    bag = bag_of(many)
    broken = many / "tasks" / f"{BROKEN:03}.yaml"
    assert list(bag.import_errors) == [str(broken)]
    assert bag.import_errors[str(broken)] == (
        f"{broken}:8:12: jobs[0].purge: must be none, manual or system (got 'nonne'); "
        "did you mean 'none'?"
    )
    names = {f"task_{n}" for n in range(FILES) if n != BROKEN}
    tenth = range(0, FILES, 10)
    purges = {f"task_{n}__{act}" for n in tenth for act in ("purge", "repair")}
    assert set(bag.dags) == names | purges


def test_the_dag_processor_stores_it_under_the_yaml_files_name(many: Path) -> None:
    """Under the loader's name it would hide every other DAG."""
    result = processed(many)
    assert list(result.import_errors) == [f"tasks/{BROKEN:03}.yaml"]
    assert len(result.serialized_dags) == FILES - 1 + 2 * (FILES // 10)


def test_good_dags_stay_schedulable_beside_a_broken_file(folder: Path) -> None:
    """As Airflow's database has it afterwards."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.models.dag import DagModel
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session
    from sqlalchemy import select

    (folder / "tasks" / "good.yaml").write_text(task("good_beside_broken"))
    (folder / "tasks" / "bad.yaml").write_text(task("bad_beside_good", "x"))
    (folder / "tasks" / "worse.yaml").write_text("name: [")
    result = processed(folder)
    with create_session() as session:
        bundles = DagBundlesManager()  # type: ignore[no-untyped-call]
        bundles.sync_bundles_to_db(session=session)
        session.commit()
        update_dag_parsing_results_in_db(
            "dags-folder",
            None,
            result.serialized_dags,
            {("dags-folder", name): text for name, text in result.import_errors.items()},
            1.0,
            set(),
            session,
            files_parsed={("dags-folder", "dsp_tasks.py")},
        )
        session.commit()
        good = session.get(DagModel, "good_beside_broken")
        assert good is not None
        assert (good.is_stale, good.has_import_errors) == (False, False)
        errors = session.scalars(select(ParseImportError)).all()
        assert {e.filename for e in errors} == {"tasks/bad.yaml", "tasks/worse.yaml"}
        assert all((e.stacktrace or "").startswith(f"{folder}/{e.filename}:") for e in errors)
        for error in errors:
            session.delete(error)


def test_a_worker_loads_its_own_file_only(
    many: Path, sealed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsp_airflow.config import nodes

    read: list[Path] = []
    original = nodes.read

    def noted(path: Path, shown: str) -> object:
        read.append(path)
        return original(path, shown)

    monkeypatch.setattr(nodes, "read", noted)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "task_40__purge")
    bag = bag_of(many)
    assert set(bag.dags) == {"task_40", "task_40__purge", "task_40__repair"}
    assert read == [many / "tasks" / "040.yaml"]


def test_building_twice_gives_the_same(many: Path) -> None:
    """What varies would make a new DAG version of each parse."""
    first, second = processed(many), processed(many)
    data = [
        {d.data["dag"]["dag_id"]: d.hash for d in result.serialized_dags}
        for result in (first, second)
    ]
    assert data[0] == data[1]


def dag_of(folder: Path, text: str, dag_id: str = "it") -> Any:
    (folder / "tasks" / "it.yaml").write_text(text)
    bag = bag_of(folder)
    assert bag.import_errors == {}
    return bag.dags[dag_id]


def test_settings_are_airflows_own(folder: Path) -> None:
    extra = """\
display_name: The title
description: What it does.
remarks: And why.
owner: data
schedule: "0 2 * * *"
timeout: 2h
retries: 5
retry_delay: 30s
retry_backoff: 3"""
    dag = dag_of(folder, task("it", extra=extra))
    assert (dag.dag_display_name, dag.description) == ("The title", "What it does.")
    assert dag.doc_md == "What it does.\n\nAnd why.\n"
    assert (dag.schedule, dag.catchup, dag.max_active_runs) == ("0 2 * * *", False, 1)
    assert timedelta(hours=2) < dag.dagrun_timeout < timedelta(hours=3)
    step = dag.get_task("flights.copy")
    assert (step.owner, step.retries, step.retry_delay) == ("data", 5, timedelta(seconds=30))
    assert step.retry_exponential_backoff == 3


def test_time_outside_a_window_does_not_count(folder: Path) -> None:
    """Two hours of work may take the end of one night, a day, and the beginning of the next."""
    limits = "\n    limits: {window: 22:00-06:00}"
    dag = dag_of(folder, task("it", extra="timeout: 2h") + limits)
    assert dag.dagrun_timeout > timedelta(hours=2 + 16)
    now = datetime.now(UTC)
    shut = parse_window(f"{now + timedelta(hours=1):%H:%M}-{now + timedelta(hours=2):%H:%M}")
    started, hour = now - timedelta(hours=12), timedelta(hours=1)
    DeadlinePace(BatchEdgePace(), started, hour, [shut]).before_batch()
    with pytest.raises(Terminated, match="the timeout of 1:00:00 is over"):
        DeadlinePace(BatchEdgePace(), started, hour).before_batch()
    wide = parse_window(f"{now - timedelta(hours=3):%H:%M}-{now + timedelta(hours=2):%H:%M}")
    with pytest.raises(Terminated):
        DeadlinePace(BatchEdgePace(), started, hour, [wide]).before_batch()


def test_backoff_of_one_keeps_the_wait(folder: Path) -> None:
    dag = dag_of(folder, task("it", extra="retry_backoff: 1"))
    assert dag.get_task("flights.copy").retry_exponential_backoff == 0


def test_every_step_has_the_priority_of_its_task(folder: Path) -> None:
    def weights(extra: str) -> set[tuple[int, WeightRule]]:
        found = [
            dag_of(folder, task("it", "manual", extra) + "    shards: 2\n", name)
            for name in ("it", "it__purge")
        ]
        return {(step.priority_weight, step.weight_rule) for dag in found for step in dag.tasks}

    assert weights("priority: 10") == {(10, WeightRule.ABSOLUTE)}
    assert weights("") == {(1, WeightRule.DOWNSTREAM)}


PROCESSES = {
    "warm": "name: Warm\ntask_type: warm\npriority: 250\n",
    "purge": "name: Purges\ntask_type: purge\npriority: 901\nconnections: {names: [s]}\n",
    "named": "name: Named\ntask_type: warm\npriority: 1000\n",
    "silent": "name: Silent\ntask_type: s3\n",
}


def test_the_priority_of_a_process_in_a_file_is_that_of_its_tasks(
    folder: Path, sealed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From files alone, and the same each time: another weight would be another DAG version."""
    monkeypatch.setenv("AIRFLOW__DSP__PROCESSES_FOLDER", str(folder / "processes"))
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "True")
    (folder / "processes").mkdir()
    for name, text in PROCESSES.items():
        (folder / "processes" / f"{name}.yaml").write_text(text)
    archive = task("silent").replace("type: warm", "type: s3")
    archive = archive.replace("t, table: public.flights", "t, bucket: archive, prefix: p")
    for name, text in {
        "plain": task("plain", "manual"),
        "named": task("named", extra="approval: Named"),
        "own": task("own", extra="priority: 3"),
        "unknown": task("unknown", extra="approval: InTheDatabase"),
        "silent": archive,
    }.items():
        (folder / "tasks" / f"{name}.yaml").write_text(text)

    def weights() -> dict[str, set[tuple[int, WeightRule]]]:
        bag = bag_of(folder)
        assert bag.import_errors == {}
        return {
            name: {(step.priority_weight, step.weight_rule) for step in dag.tasks}
            for name, dag in bag.dags.items()
        }

    found, airflows_own = weights(), {(1, WeightRule.DOWNSTREAM)}
    assert found == {
        # The smallest number is the first, and the highest weight.
        "plain": {(8, WeightRule.ABSOLUTE)},
        "plain__purge": {(1, WeightRule.ABSOLUTE)},
        "named": {(1, WeightRule.ABSOLUTE)},
        "own": {(3, WeightRule.ABSOLUTE)},
        "unknown": airflows_own,
        "silent": airflows_own,
        **{f"{name}__repair": airflows_own for name in ("plain", "named", "unknown")},
        "own__repair": {(3, WeightRule.ABSOLUTE)},
        "silent__restore": airflows_own,
        "silent__rollback": airflows_own,
    }
    assert weights() == found
    # Whom nobody has to ask, no process holds for.
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "False")
    assert weights()["plain"] == airflows_own


def test_a_task_that_asks_nobody_is_no_dag_while_approval_is_enforced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "tasks" / "waived.yaml"
    file.write_text(task("waived", extra="approval: none"))
    (folder / "tasks" / "other.yaml").write_text(task("other"))
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "True")
    bag = bag_of(folder)
    assert set(bag.dags) == {"other", "other__repair"}
    assert bag.import_errors == {
        str(file): f"{file}:2:11: approval: is not accepted while [dsp] enforce_approval is on; "
        "write match, or a process by name (got 'none')"
    }
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "False")
    assert {name.removesuffix("__repair") for name in bag_of(folder).dags} == {"other", "waived"}


def test_once_runs_at_its_time(folder: Path) -> None:
    dag = dag_of(folder, task("it", extra="schedule: {once: 2026-12-01T02:00:00+07:00}"))
    assert dag.schedule == "@once"
    assert dag.start_date == datetime(2026, 11, 30, 19, tzinfo=UTC)


def test_manual_has_no_schedule(folder: Path) -> None:
    assert dag_of(folder, task("it")).schedule is None


JOB = """\
  - name: {name}
    type: warm
    source: {{connection: s, table: {table}}}
    target: {{connection: t}}
    shards: {shards}
    purge: {purge}
"""


def edges(dag: Any) -> set[tuple[str, str]]:
    return {(t.task_id, d) for t in dag.tasks for d in t.downstream_task_ids}


@pytest.mark.parametrize("execution", ["serial", "parallel"])
def test_shape(folder: Path, execution: str) -> None:
    text = f"name: it\nexecution: {execution}\njobs:\n"
    text += JOB.format(name="a", table="x", shards=1, purge="system")
    text += JOB.format(name="b", table="y", shards=1, purge="none")
    found = edges(dag_of(folder, text))
    expected = {("estimate", "approval"), ("approval", "a.plan")}
    for job in "ab":
        expected |= {(f"{job}.plan", f"{job}.copy"), (f"{job}.copy", f"{job}.check")}
    if execution == "serial":
        expected |= {("a.check", "b.plan"), ("b.check", "purge.a")}
        # A group is after all of the one before it.
        found -= {("a.check", "purge.a")}
    else:
        expected |= {("approval", "b.plan"), ("a.check", "purge.a"), ("b.check", "purge.a")}
    assert found == expected


def test_a_job_after_others_begins_with_their_last_steps(folder: Path) -> None:
    text = "name: it\nexecution: parallel\njobs:\n"
    for name, table, after in (("a", "x", "b, c"), ("b", "y", ""), ("c", "z", "b")):
        text += (
            JOB.format(name=name, table=table, shards=2, purge="none") + f"    after: [{after}]\n"
        )
    text = text.replace("table: y}", "table: y}\n    mode: replace")
    found = edges(dag_of(folder, text))
    between = {(one, other) for one, other in found if one[:2] != other[:2]}
    assert between == {
        ("estimate", "approval"),
        ("approval", "b.plan"),
        ("b.swap", "a.plan"),
        ("c.check", "a.plan"),
        ("b.swap", "c.plan"),
    }


def test_shards_are_mapped(folder: Path) -> None:
    text = "name: it\njobs:\n" + JOB.format(name="a", table="x", shards=3, purge="none")
    dag = dag_of(folder, text)
    for step in ("copy", "check"):
        mapped = dag.get_task(f"a.{step}")
        assert mapped.expand_input.value == {"shard": [1, 2, 3]}


def test_jobs_may_be_named_like_steps(folder: Path) -> None:
    text = "name: it\njobs:\n"
    for name in ("estimate", "approval", "purge", "purge_"):
        text += JOB.format(name=name, table=name, shards=1, purge="system")
    dag = dag_of(folder, text)
    assert {"purge__.copy", "purge_.copy", "estimate_.copy", "purge.purge"} <= set(dag.task_ids)


def test_the_form_of_manual_deletion(folder: Path) -> None:
    dag = dag_of(folder, task("it", "manual"), "it__purge")
    form = {"job": "flights", "batches": "all", "run": "latest", "act": "delete"}
    assert dag.params.dump() == form
    assert dag.params.get_param("job").schema["enum"] == ["flights"]
    assert edges(dag) == {("estimate", "approval"), ("approval", "purge")}


def test_what_only_airflow_refuses_hurts_one_task_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import DAG

    original: Callable[[DAG], None] = DAG.validate

    def refuse(dag: DAG) -> None:
        if dag.dag_id == "odd__repair":
            raise ValueError("a DAG that Airflow does not like")
        original(dag)

    monkeypatch.setattr(DAG, "validate", refuse)
    for name in ("even", "odd"):
        (folder / "tasks" / f"{name}.yaml").write_text(task(name))
    result = processed(folder)
    names = {d.data["dag"]["dag_id"] for d in result.serialized_dags}
    assert names == {"even", "even__repair"}
    assert result.import_errors == {
        "tasks/odd.yaml": f"{folder}/tasks/odd.yaml:1:1: Airflow refuses the task: ValueError: "
        "a DAG that Airflow does not like"
    }


def test_names_of_tasks_do_not_touch_the_loaders(folder: Path) -> None:
    for number, name in enumerate(("__file__", "Path", "globals", "dags_in")):
        (folder / "tasks" / f"{number}.yaml").write_text(task(name))
    names = {name.removesuffix("__repair") for name in bag_of(folder).dags}
    assert names == {"__file__", "Path", "globals", "dags_in"}


def test_outside_of_airflow_errors_are_logged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from dsp_airflow.dag_factory import dags_in

    (folder / "tasks" / "bad.yaml").write_text("name: [")
    assert dags_in(folder / "tasks") == {}
    assert "bad.yaml:2:1: is not YAML" in caplog.text


def test_who_links_to_a_step_knows_its_id(folder: Path) -> None:
    text = """\
name: it
jobs:
  - name: check
    type: warm
    source: {connection: s, table: a}
    target: {connection: t}
    mode: replace
    check: none
    shards: 2
  - name: b
    type: warm
    source: {connection: s, table: b}
    target: {connection: t}
    delete_missing: {limit: 5}
    shards: 2
  - name: purge
    type: s3
    source: {connection: s, table: c}
    target: {connection: o, bucket: bucket, prefix: p}
    purge: system
  - name: back
    type: restore
    source: {connection: o, bucket: bucket, manifest: p/run/manifest.json}
    target: {connection: t, table: d}
"""
    dag = dag_of(folder, text)
    definition = normalise(load_task(folder / "tasks" / "it.yaml"))
    found = steps_of(definition, "it")
    assert {one.task_id for one in found} == set(dag.task_ids)
    assert {one.task_id for one in found if one.mapped} == {
        one.task_id for one in dag.tasks if isinstance(one, MappedOperator)
    }
    restore = dag_of(folder, text, "it__restore")
    assert {one.task_id for one in steps_of(definition, "it__restore")} == set(restore.task_ids)
    # Of a DAG that somebody wrote nothing is known.
    assert steps_of(definition, "theirs") == []
