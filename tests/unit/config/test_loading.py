"""Files to tasks: includes, folders, names, and what a task holds."""

import pickle
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from dsp_airflow.config import (
    ConfigProblems,
    Once,
    Problem,
    TimeVariable,
    TypeName,
    WarmJob,
    load_task,
    load_tasks,
    task_names,
)

JOB = "{name: j, type: warm, source: {connection: s, table: t}, target: {connection: x}}"
EXAMPLES = Path(__file__).parents[3] / "dags" / "tasks"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults(tmp_path: Path) -> None:
    task = load_task(write(tmp_path / "a.yaml", f"name: a\njobs: [{JOB}]\n"))
    job = task.jobs[0]
    assert (task.schedule, task.execution, task.retries) == ("manual", "serial", 3)
    assert (task.timeout, task.retry_delay) == (timedelta(hours=24), timedelta(minutes=5))
    assert (task.retry_backoff, task.notify.when, task.title) == (2.0, "never", "a")
    assert isinstance(job, WarmJob)
    assert (job.target_table, job.target.create, job.key, job.columns) == ("t", "missing", (), None)
    assert (job.mode, job.on_conflict, job.batch_size) == ("full", "update", "auto")
    assert (job.workers, job.shards, job.purge, job.max_row_size) == (1, 1, "none", 64 * 1024**2)
    assert job.check is not None
    assert (job.check.percent, job.check.seed) == (10, 0)


def test_every_key(tmp_path: Path) -> None:
    task = load_task(
        write(
            tmp_path / "a.yaml",
            """\
name: a.b-c_1
display_name: Überall
schedule: {once: 2026-12-01T02:00+07:00}
execution: parallel
timeout: 90m
notify: {when: always, to: [a@example.com, b@example.com]}
jobs:
  - name: j
    type: warm
    source: {connection: s, table: public.t}
    target: {connection: s, table: public.u, create: never}
    key: [id]
    columns:
      - {source: id}
      - {source: delay, target: d, type: decimal(6,1)}
      - {target: origin, constant: null}
      - {target: since, constant: 2026-01-31}
      - {target: e, expression: "lower(email) || :suffix", type: text}
    where: created_at < :cutoff and n > :n
    variables: {cutoff: now-1M, n: 5, suffix: x}
    on_conflict: ignore
    batch_size: 1000
    workers: 4
    shards: 2
    check: none
    accept_loss: [note]
    max_row_size: 1MB
    report_values: true
""",
        )
    )
    job = task.job("j")
    assert isinstance(job, WarmJob)
    assert isinstance(task.schedule, Once)
    assert task.schedule.once.astimezone(UTC) == datetime(2026, 11, 30, 19, tzinfo=UTC)
    assert job.columns is not None
    assert [column.target_name for column in job.columns] == ["id", "d", "origin", "since", "e"]
    assert job.columns[1].type == TypeName("decimal", (6, 1))
    assert job.columns[2].has_constant
    assert job.columns[3].constant == date(2026, 1, 31)
    assert job.columns[4].type == TypeName("string")
    assert job.variables == {"cutoff": TimeVariable("now", ((-1, "M"),)), "n": 5, "suffix": "x"}
    assert (job.check, job.max_row_size, job.batch_size) == (None, 1_000_000, 1000)
    with pytest.raises(KeyError, match="has no job 'k'; its jobs are j"):
        task.job("k")
    assert pickle.loads(pickle.dumps(task)) == task  # noqa: S301 - our own bytes


def test_models_are_frozen(tmp_path: Path) -> None:
    task = load_task(write(tmp_path / "a.yaml", f"name: a\njobs: [{JOB}]\n"))
    with pytest.raises(ValidationError, match="frozen"):
        task.name = "b"  # type: ignore[misc]


def test_models_check_themselves_without_a_file() -> None:
    values = {"name": "j", "type": "warm", "source": {"connection": "s", "table": "t"}}
    with pytest.raises(ValidationError, match="is the source itself"):
        WarmJob.model_validate({**values, "target": {"connection": "s"}})
    with pytest.raises(ValidationError, match="must not be none with purge"):
        WarmJob.model_validate(
            {**values, "target": {"connection": "x"}, "check": "none", "purge": "manual"}
        )


def test_includes_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    write(tmp_path / "schemas/users.yaml", "- {source: id, target: user_id}\n")
    write(
        tmp_path / "jobs/users.yaml",
        JOB.replace("}}", "}, columns: {file: ../schemas/users.yaml}}"),
    )
    for name in ("a", "b"):
        path = tmp_path / f"tasks/{name}.yaml"
        task = load_task(write(path, f"name: {name}\njobs: [{{file: ../jobs/users.yaml}}]\n"))
        (job,) = task.jobs
        assert isinstance(job, WarmJob)
        assert job.columns is not None
        assert job.columns[0].target_name == "user_id"


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\r\nretris: 1\r\njobs: [" + JOB.encode() + b"]\r\n")
    with pytest.raises(ConfigProblems) as raised:
        load_task(path)
    assert raised.value.problems == (
        Problem(str(path), 2, 1, "retris", "is not a key", "retris", "retries"),
    )


def test_anchors(tmp_path: Path) -> None:
    text = f"""\
name: a
notify: &mail {{when: failure, to: &people [a@example.com]}}
jobs: [{JOB}]
"""
    assert load_task(write(tmp_path / "a.yaml", text)).notify.to == ("a@example.com",)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblems, match="there is no such file"):
        load_task(tmp_path / "none.yaml")


def test_one_bad_file_hurts_one_task(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / f"t{number:02}.yaml", f"name: t{number}\njobs: [{JOB}]\n")
    write(tmp_path / "t07.yaml", "name: t7\njobs: [\n")
    tasks, failed = load_tasks(tmp_path)
    assert [path.name for path, _ in tasks] == [
        f"t{number:02}.yaml" for number in range(20) if number != 7
    ]
    assert [problem.file for problems in failed for problem in problems.problems] == [
        str(tmp_path / "t07.yaml")
    ]


def test_of_two_with_one_name_the_later_is_wrong(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", f"name: same\nbroken: 1\njobs: [{JOB}]\n")
    write(tmp_path / "b.yml", f"jobs: [{JOB}]\nname: same\n")
    write(tmp_path / "team/c.yaml", f"name: other\njobs: [{JOB}]\n")
    write(tmp_path / ".hidden/d.yaml", "nonsense")
    write(tmp_path / ".e.yaml", "nonsense")
    tasks, failed = load_tasks(tmp_path)
    assert [task.name for _, task in tasks] == ["other"]
    assert str(failed[1]) == (
        f"{tmp_path}/b.yml:2:7: name: {tmp_path}/a.yaml has this name already; "
        "names must be unique (got 'same')"
    )
    assert task_names(tmp_path) == {
        "same": tmp_path / "a.yaml",
        "other": tmp_path / "team/c.yaml",
    }


def test_names_are_read_at_the_top_only(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", f"jobs: [{JOB}]\nnotify: {{name: x}}\nname: right\n")
    write(tmp_path / "b.yaml", "jobs: [\n")
    write(tmp_path / "c.yaml", "- name: x\n")
    write(tmp_path / "d.yaml", "x: &a 1\ny: *a\nname: also\n")
    assert list(task_names(tmp_path)) == ["right", "also"]


def test_the_examples_load() -> None:
    tasks, failed = load_tasks(EXAMPLES)
    assert failed == []
    assert {"flights_archive", "users_to_analytics"} <= {task.name for _, task in tasks}
