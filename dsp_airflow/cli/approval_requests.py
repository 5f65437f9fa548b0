"""``dsp requests``, ``approve``, ``reject``, ``cancel``, ``execute``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import actor, note_unless_enforced, send_mails
from dsp_airflow.cli.surroundings import log_to_stderr
from dsp_airflow.engine.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from dsp_airflow.approval.records import Request
    from dsp_airflow.approval.requests import Requests


def list_requests(
    *,
    task: str | None,
    task_type: str | None,
    requester: str | None,
    states: Sequence[str],
    mine: bool,
    limit: int,
    as_json: bool,
) -> None:
    """The requests that fit."""
    from dsp_airflow.approval.machine import State
    from dsp_airflow.config.errors import nearest

    wanted = [state.upper() for state in states]
    for state in wanted:
        if state not in set(State):
            near = nearest(state, list(State))
            hint = f"; did you mean {near}?" if near else f"; there are {', '.join(State)}"
            raise ConfigError(f"{state} is no state of a request{hint}")
    with _requests() as requests:
        found = requests.recent(
            task=task, task_type=task_type, requester=requester, states=wanted, limit=limit
        )
        if mine:
            ids = {one.id for one in requests.waiting_for(actor())}
            found = [one for one in found if one.id in ids]
        documents = [_document(one, requests) for one in found]
    if as_json:
        output.write_json({"requests": documents})
        return
    if not documents:
        output.write("no requests")
        return
    heads = ("id", "state", "type", "task", "rows", "asked by", "waits for", "until (UTC)")
    rows = [
        (
            one["id"],
            one["state"],
            one["task_type"],
            one["task"],
            one["rows"],
            one["requester"],
            one["waits_for"],
            one["until"],
        )
        for one in documents
    ]
    output.console().print(output.table("", heads, rows, right=("rows",)))


def show(request: str, *, as_json: bool) -> None:
    """All that approvers decide on, and what was decided."""
    with _requests() as requests:
        found = requests.get(request)
        document = _document(found, requests)
        document |= {
            "evidence": found.evidence,
            "digest": found.digest,
            "decisions": [asdict(one) for one in found.decisions],
            "history": [asdict(one) for one in requests.history(request)],
        }
    if as_json:
        output.write_json(document)
        return
    shown = output.console()
    facts = [
        (name.replace("_", " "), value)
        for name, value in document.items()
        if not isinstance(value, list | dict) and value is not None
    ]
    shown.print(output.table(f"Request {found.id}", ("", " "), facts))
    _show_work(shown, found.evidence)
    _show_history(shown, document)


def decide(request: str, comment: str, *, approved: bool, as_json: bool) -> None:
    """A yes or a no, to what stands there now."""
    with _requests() as requests:
        known = requests.get(request)
        found = requests.decide(
            request,
            actor(),
            comment,
            approved=approved,
            seen=known.version,
            digest=known.digest,
        )
        _told(requests, found, as_json=as_json)


def cancel(request: str, comment: str, *, as_json: bool) -> None:
    """Takes it back."""
    with _requests() as requests:
        _told(requests, requests.cancel(request, actor(), comment), as_json=as_json)


def execute(request: str, *, as_json: bool) -> None:
    """Execute now."""
    with _requests() as requests:
        _told(requests, requests.execute(request, actor()), as_json=as_json)


@contextmanager
def _requests() -> Iterator[Requests]:
    output.stdout()
    log_to_stderr()
    note_unless_enforced()
    from dsp_airflow.approval.requests import Requests
    from dsp_airflow.state.database import open_state

    with open_state(create=True) as database:
        requests = Requests(database)
        requests.expire_due()
        yield requests


def _told(requests: Requests, request: Request, *, as_json: bool) -> None:
    send_mails(requests)
    document = _document(request, requests)
    if as_json:
        output.write_json(document)
        return
    waits = f"; it waits for {document['waits_for']}" if document["waits_for"] else ""
    output.write(f"request {request.id} of {request.task} is {request.state}{waits}")


def _document(request: Request, requests: Requests) -> dict[str, Any]:
    level = request.process.levels[request.level]
    return {
        "id": request.id,
        "state": str(request.state),
        "task": request.task,
        "title": request.title,
        "task_type": request.task_type,
        "process": request.process.name,
        "level": request.level + 1,
        "level_name": level.name or None,
        "requester": request.requester,
        "waits_for": requests.waits_for(request) or None,
        "start": request.process.start,
        "until": request.until,
        "reason": request.reason or None,
        "covered_by": request.covered_by,
        "created_at": request.created_at,
        "ended_at": request.ended_at,
        "rows": request.evidence.get("rows"),
        "bytes": request.evidence.get("bytes"),
    }


def _show_work(shown: Console, evidence: Mapping[str, Any]) -> None:
    shown.print(f"Does: {', '.join(evidence['subtypes'])}")
    shown.print(f"On: {', '.join(_connection(one) for one in evidence['connections'])}")
    for job in evidence.get("jobs", ()):
        rows = f"{job['rows']:,} rows, {job['bytes']:,} bytes"
        shown.print(f"\nJob {job['name']}: {job['source']} -> {job['target']}, {rows}")
        if job["deletes"]:
            shown.print(f"Deletes {job['deletes']}")
        for warning in job["warnings"]:
            shown.print(f"Warning: {warning}")
        heads = ("source", "type", "target", "type", "fit", "note")
        names = ("source", "source_type", "target", "target_type", "fit", "note")
        columns = [[column[name] for name in names] for column in job["columns"]]
        shown.print(output.table("Columns", heads, columns))
        for statement in job["statements"]:
            shown.print(statement)
    if not evidence.get("jobs"):
        shown.print(f"\n{evidence.get('definition')}")
    changes = evidence.get("changes")
    if changes is None:
        shown.print("\nNothing of this task was approved before.")
    elif not changes:
        shown.print("\nThe definition is the one that was approved last.")
    else:
        shown.print("\nChanges since the last approval:")
        for line in changes:
            shown.print(line)


def _connection(one: Mapping[str, Any]) -> str:
    labels = ", ".join(one["labels"])
    return f"{one['name']} ({labels})" if labels else str(one["name"])


def _show_history(shown: Console, document: Mapping[str, Any]) -> None:
    rows = [
        (one["changed_at"], one["after"], one["actor"], one["note"]) for one in document["history"]
    ]
    shown.print(output.table("History", ("at (UTC)", "state", "by", "note"), rows))
