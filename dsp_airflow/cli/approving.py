"""The gate before what a command writes: it asks first, and works once that is decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dsp_airflow.cli import output
from dsp_airflow.cli.surroundings import quieten
from dsp_airflow.engine.errors import Refused

if TYPE_CHECKING:
    from dsp_airflow.approval.gate import Gate
    from dsp_airflow.approval.records import Request
    from dsp_airflow.approval.requests import Requests
    from dsp_airflow.config import Job, Task
    from dsp_airflow.engine.model import Plan
    from dsp_airflow.steps import TaskRun


Estimates: TypeAlias = "Callable[[], tuple[Mapping[str, Any], list[dict[str, Any]]]]"


def actor() -> str:
    """Who acts: the operating system's user, or whom ``[dsp] cli_users`` names for it."""
    from dsp_airflow.approval.settings import acting_user
    from dsp_airflow.cli.run import user

    return acting_user(user())


def acting() -> str:
    """As ``actor``, of what anybody may do: who is not known to the operating system may, too."""
    from dsp_airflow.approval.settings import acting_user
    from dsp_airflow.cli.run import user
    from dsp_airflow.state.audit import UNKNOWN

    login = user()
    return UNKNOWN if login is None else acting_user(login)


def enforced() -> bool | None:
    """Whether anything has to be approved; ``None`` where the setting cannot be read."""
    from dsp_airflow.approval import settings
    from dsp_airflow.engine.errors import ConfigError

    try:
        return settings.enforced()
    except ConfigError:
        return None  # what the command does fails for it, and says so


def note_unless_enforced() -> None:
    """Whoever looks at requests and processes should know that nobody waits for them."""
    from dsp_airflow.approval.settings import NOT_ENFORCED

    if enforced() is False:
        output.note(NOT_ENFORCED)


def send_mails(requests: Requests) -> None:
    """Leaves to another process what a change has put into the outbox."""
    from dsp_airflow.notify import relay

    quieten()
    relay.start_for(requests.database)


def gate_for_run(work: TaskRun, task_type: str | None = None, *, quiet: bool = False) -> Gate:
    """The gate of a whole run; ``Refused`` while its request waits."""
    from dsp_airflow.approval.subject import header_of, task_type_of
    from dsp_airflow.asking import look, variables_now
    from dsp_airflow.run_variables import Interval

    def estimates() -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
        variables = variables_now(work, Interval())
        found = [look(work, job, variables)[2] for job in work.task.jobs]
        return header_of(work.task, task_type or task_type_of(work.task)), found

    return _gate(work, f"cli/{work.run.id}", estimates, quiet=quiet)


def gate_for_purge(work: TaskRun, names: tuple[str, ...], numbers: frozenset[int] | None) -> Gate:
    """The gate of a purge by hand of some jobs of an earlier run."""
    from dsp_airflow.approval.subject import header_of
    from dsp_airflow.asking import look_at_purge, purge_task

    def estimates() -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
        found = [look_at_purge(work, name, numbers) for name in names]
        return header_of(purge_task(work.task), "purge") | {"jobs": list(names)}, found

    return _gate(work, f"cli/{work.run.id}/purge", estimates, resumes=False)


def gate_for_rollback(work: TaskRun, names: tuple[str, ...]) -> Gate:
    """The gate of rolling back some jobs of an earlier run."""
    from dsp_airflow.approval.subject import header_of
    from dsp_airflow.undoing import look_at_rollback, rollback_task

    def estimates() -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
        found = [look_at_rollback(work, name) for name in names]
        return header_of(rollback_task(work.task), "rollback") | {"jobs": list(names)}, found

    return _gate(work, f"cli/{work.run.id}/rollback", estimates)


def gate_for_repair(work: TaskRun, names: tuple[str, ...]) -> Gate:
    """The gate of copying once more what differs in some jobs of an earlier run."""
    from dsp_airflow.approval.subject import header_of
    from dsp_airflow.repairing import look_at_repair, repair_task

    def estimates() -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
        found = [look_at_repair(work, name) for name in names]
        return header_of(repair_task(work.task), "repair") | {"jobs": list(names)}, found

    return _gate(work, f"cli/{work.run.id}/repair", estimates)


def gate_for_mark(work: TaskRun, name: str, numbers: frozenset[int] | None) -> Gate:
    """The gate of marking batches as removed by hand: no purge goes by what it was asked for."""
    from dsp_airflow.approval.subject import header_of
    from dsp_airflow.asking import look_at_mark, purge_task

    def estimates() -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
        found = look_at_mark(work, name, numbers)
        return header_of(purge_task(work.task), "purge") | {"jobs": [name]}, [found]

    return _gate(work, f"cli/{work.run.id}/mark-deleted", estimates, resumes=False)


def foreseen(task: Task, planned: Sequence[tuple[Job, Plan]]) -> dict[str, Any] | None:
    """Who will have to decide on a run, for ``dsp plan``; ``None`` where nobody will."""
    from dsp_airflow.approval import settings
    from dsp_airflow.approval.matching import level_for
    from dsp_airflow.approval.processes import Processes, process_of_files
    from dsp_airflow.approval.subject import (
        header_of,
        job_estimate,
        of_estimates,
        task_type_of,
    )
    from dsp_airflow.cli.surroundings import has_state
    from dsp_airflow.state.database import open_state

    if not settings.enforced():
        return None
    found = [job_estimate(job, plan, "", plan.rows) for job, plan in planned]
    subject = of_estimates(header_of(task, task_type_of(task)), found)
    if has_state():
        with open_state() as database:
            process = Processes(database).process_for(subject.ask, subject.process)
    else:
        process = process_of_files(subject.ask, subject.process)
    level = level_for(process, subject.ask)
    nodes = [node.label for node in process.levels[level].nodes]
    return {"process": process.name, "level": level + 1, "nodes": nodes}


def _gate(
    work: TaskRun, key: str, estimates: Estimates, *, quiet: bool = False, resumes: bool = True
) -> Gate:
    from dsp_airflow.approval import settings
    from dsp_airflow.approval.gate import ApprovedGate, OpenGate
    from dsp_airflow.approval.requests import Requests
    from dsp_airflow.approval.subject import of_estimates

    if not settings.enforced():
        if not quiet:
            output.note(settings.NOT_ENFORCED)
        return OpenGate()
    requests = Requests(work.database)
    if not (resumes and _executes(requests, key)):
        request = requests.ask(key, of_estimates(*estimates()), actor())
        _require_started(requests, request)
    return ApprovedGate(requests, key)


def _executes(requests: Requests, key: str) -> bool:
    """Whether what has this key has begun, and may go on; a gate compares what is done then."""
    from dsp_airflow.approval.machine import State

    known = requests.find(key)
    if known is None:
        return False
    known = requests.still(known.id)
    if known.state == State.EXECUTION_FAILED:
        return known.until is not None and known.until > requests.database.now()
    return known.state == State.EXECUTING


def _require_started(requests: Requests, request: Request) -> None:
    """Starts what is approved: whoever runs the command says so by hand."""
    from dsp_airflow.approval.machine import State

    send_mails(requests)
    if request.state == State.APPROVING:
        until = f", until {request.until:%Y-%m-%d %H:%M} UTC" if request.until else ""
        raise Refused(
            f"nothing was done: request {request.id} waits for {requests.waits_for(request)}"
            f"{until}; run this again once it is approved (dsp requests show {request.id})"
        )
    requests.execute(request.id, actor())
