"""Mails about requests: somebody waits for you, it was decided, its time is over.

They are put into the outbox by the transaction that they tell of; sending is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING
from urllib.parse import quote

from sqlalchemy import Connection

from dsp_airflow.approval import settings
from dsp_airflow.approval.machine import SYSTEM, Move, State
from dsp_airflow.state import outbox
from dsp_airflow.state.outbox import MailKey

if TYPE_CHECKING:
    from dsp_airflow.approval.records import Request

COMMAND_LINE = "cli"
"""What the keys of requests begin with that were made on the command line."""
WAITING, DECIDED, EXPIRED = "approval_waiting", "approval_decided", "approval_expired"
_EXPIRED = frozenset(
    {State.APPROVAL_EXPIRED, State.WAIT_FOR_EXECUTION_EXPIRED, State.EXECUTION_EXPIRED}
)


def write(
    connection: Connection, request: Request, moves: Sequence[Move], members: AbstractSet[str]
) -> None:
    """The mails that the moves call for; ``members`` are those of the node that decides next."""
    last = moves[-1]
    if request.state == State.APPROVING:
        may = members if request.process.requester_may_decide else members - {request.requester}
        event, to = WAITING, _addresses(may)
    elif request.state in _EXPIRED:
        event, to = EXPIRED, _asked(request)
    elif request.state in {State.WAIT_FOR_EXECUTION, State.REJECTED, State.CANCELLED}:
        # Nobody needs to hear of what dsp decided by an earlier word, or of their own act.
        decided = any(move.decision is not None for move in moves)
        told = decided or last.actor not in {SYSTEM, request.requester}
        event, to = DECIDED, _asked(request) if told else ()
    else:
        return
    if to:
        outbox.add(
            connection,
            MailKey(request.id, request.version, event),
            to,
            _subject(request),
            _body(request, last),
        )


def _asked(request: Request) -> tuple[str, ...]:
    """Who asked, and who wants to hear of the task."""
    told = [str(address) for address in request.evidence.get("tell", ())]
    return tuple(dict.fromkeys([*_addresses([request.requester]), *told]))


def _addresses(users: Iterable[str]) -> tuple[str, ...]:
    found = (settings.address_of(user) for user in sorted(users))
    return tuple(address for address in found if address is not None)


def _subject(request: Request) -> str:
    words = {
        State.APPROVING: "APPROVAL NEEDED",
        State.WAIT_FOR_EXECUTION: "APPROVED",
        State.REJECTED: "REJECTED",
        State.CANCELLED: "CANCELLED",
    }
    word = words.get(request.state, "EXPIRED") if request.state else ""
    return f"[dsp] {word}: {request.title} ({request.task_type})"


def _body(request: Request, last: Move) -> str:
    level = request.process.levels[request.level]
    rows = request.evidence.get("rows")
    parts = [_happened(request, last)]
    name = f" ({level.name})" if level.name else ""
    place = f"risk level {request.level + 1} of {len(request.process.levels)}{name}"
    facts = [
        f"Request: {request.id}, asked for by {request.requester}",
        f"Task: {request.task} ({request.task_type})",
        f"Process: {request.process.name}, {place}",
        f"What it does: {', '.join(request.evidence.get('subtypes', ()))}",
    ]
    if rows is not None:
        facts.append(f"Estimate: {rows:,} rows")
    facts += [f"Deletes: {job['deletes']}" for job in _jobs(request) if job.get("deletes")]
    if request.until is not None:
        facts.append(f"Until: {request.until:%Y-%m-%d %H:%M:%S} UTC")
    parts.append("\n".join(facts))
    look = [f"Everything that it would do: dsp requests show {request.id}"]
    if request.state == State.APPROVING:
        look.append(f"Yes: dsp approve {request.id}")
        look.append(f"No: dsp reject {request.id} --comment WHY")
    elif request.state == State.WAIT_FOR_EXECUTION and request.case.rules.manual_start:
        look.append(f"Start it: dsp execute {request.id}")
    link = _link(request)
    if link:
        look.append(link)
    parts.append("\n".join(look))
    return "\n\n".join(parts) + "\n"


def _happened(request: Request, last: Move) -> str:
    why = f": {last.note}" if last.note else "."
    if request.state == State.APPROVING:
        node = request.waits_for
        return f"{request.title} waits for {node.label if node else 'somebody'} to decide."
    if request.state == State.WAIT_FOR_EXECUTION:
        start = "waits for its start by hand" if request.case.rules.manual_start else "begins now"
        return f"{request.title} was approved by {last.actor} and {start}{why}"
    if request.state == State.REJECTED:
        return f"{request.title} was rejected by {last.actor}{why}"
    if request.state == State.CANCELLED:
        return f"{request.title} was cancelled by {last.actor}{why}"
    return f"{request.title} did not come to its end in time{why}"


def _jobs(request: Request) -> list[dict[str, object]]:
    jobs: list[dict[str, object]] = request.evidence.get("jobs", [])
    return jobs


def _link(request: Request) -> str | None:
    """The page of the DAG run that asks, where Airflow's address is configured."""
    base = settings.base_url()
    dag, _, run = request.key.partition("/")
    if base is None or not run or dag == COMMAND_LINE:
        return None
    return f"{base}/dags/{quote(dag, safe='')}/runs/{quote(run, safe='')}"
