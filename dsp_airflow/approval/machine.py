"""What may become of a request, and when: pure functions of the request, the act and the time.

Nothing here reads a clock or a database. Every function returns the moves to record, in order;
an act that is not allowed raises, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, TypeAlias

from dsp_airflow.config.processes import Node, Process
from dsp_airflow.engine.errors import ConfigError, Denied, Expired, Refused, Rejected

Verdict: TypeAlias = Literal["approved", "rejected", "automatic"]
SYSTEM = "dsp"
"""Who acts where no person does."""


class State(StrEnum):
    """Where a request stands."""

    CREATED = "CREATED"
    APPROVING = "APPROVING"
    REJECTED = "REJECTED"
    APPROVAL_EXPIRED = "APPROVAL_EXPIRED"
    WAIT_FOR_EXECUTION = "WAIT_FOR_EXECUTION"
    WAIT_FOR_EXECUTION_EXPIRED = "WAIT_FOR_EXECUTION_EXPIRED"
    EXECUTING = "EXECUTING"
    EXECUTION_SUCCEEDED = "EXECUTION_SUCCEEDED"
    EXECUTION_FAILED = "EXECUTION_FAILED"
    EXECUTION_EXPIRED = "EXECUTION_EXPIRED"
    CANCELLED = "CANCELLED"


MOVES: Mapping[State | None, frozenset[State]] = {
    None: frozenset({State.CREATED}),
    State.CREATED: frozenset({State.APPROVING, State.CANCELLED}),
    State.APPROVING: frozenset(
        {
            State.APPROVING,
            State.REJECTED,
            State.APPROVAL_EXPIRED,
            State.WAIT_FOR_EXECUTION,
            State.CANCELLED,
        }
    ),
    State.WAIT_FOR_EXECUTION: frozenset(
        {State.EXECUTING, State.WAIT_FOR_EXECUTION_EXPIRED, State.CANCELLED}
    ),
    State.EXECUTING: frozenset(
        {State.EXECUTION_SUCCEEDED, State.EXECUTION_FAILED, State.EXECUTION_EXPIRED}
    ),
    # A failed step that is tried again, or cleared, goes on while its time is not over.
    State.EXECUTION_FAILED: frozenset({State.EXECUTING}),
    State.REJECTED: frozenset(),
    State.APPROVAL_EXPIRED: frozenset(),
    State.WAIT_FOR_EXECUTION_EXPIRED: frozenset(),
    State.EXECUTION_SUCCEEDED: frozenset(),
    State.EXECUTION_EXPIRED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""Which state may follow which. Everything else is a defect."""
OPEN = frozenset({State.CREATED, State.APPROVING, State.WAIT_FOR_EXECUTION, State.EXECUTING})
"""States in which something may still become of a request by itself."""
APPROVED = frozenset(
    {
        State.WAIT_FOR_EXECUTION,
        State.WAIT_FOR_EXECUTION_EXPIRED,
        State.EXECUTING,
        State.EXECUTION_SUCCEEDED,
        State.EXECUTION_FAILED,
        State.EXECUTION_EXPIRED,
    }
)
"""States that only a request has that was approved at every node."""
_EXPIRES = {
    State.APPROVING: State.APPROVAL_EXPIRED,
    State.WAIT_FOR_EXECUTION: State.WAIT_FOR_EXECUTION_EXPIRED,
    State.EXECUTING: State.EXECUTION_EXPIRED,
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for a request: its process and level as they were when it was made."""

    nodes: tuple[Node, ...]
    approval: timedelta
    waiting: timedelta
    execution: timedelta
    manual_start: bool = False
    requester_may_decide: bool = False
    same_person_may_decide: bool = False

    @classmethod
    def of(cls, process: Process, level: int) -> Rules:
        """Those of one level of a process."""
        return cls(
            nodes=process.levels[level].nodes,
            approval=process.validity.approval,
            waiting=process.validity.waiting,
            execution=process.validity.execution,
            manual_start=process.start == "manual",
            requester_may_decide=process.requester_may_decide,
            same_person_may_decide=process.same_person_may_decide,
        )


@dataclass(frozen=True, slots=True)
class Case:
    """A request, as far as its moves depend on it."""

    rules: Rules
    requester: str
    state: State | None = None
    node: int = 0
    """The node that decides next."""
    until: datetime | None = None
    """When the present state ends by itself; of a failed execution, how long it may go on."""
    deciders: frozenset[str] = frozenset()
    """Who has decided a node of it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody said at a node."""

    node: int
    verdict: Verdict
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """One transition: where to, by whom, why, and with which decision."""

    to: State
    actor: str
    note: str = ""
    node: int = 0
    until: datetime | None = None
    decision: Decision | None = None


def after(case: Case, move: Move) -> Case:
    """The request once the move is made; ``Refused`` for one that may not follow its state."""
    if move.to not in MOVES[case.state]:
        raise Refused(f"a request that is {case.state or 'new'} cannot become {move.to}")
    deciders = case.deciders
    if move.decision is not None and move.decision.verdict != "automatic":
        deciders = deciders | {move.actor}
    return replace(case, state=move.to, node=move.node, until=move.until, deciders=deciders)


def begin(case: Case, now: datetime) -> list[Move]:
    """A new request: it waits for its first node that asks somebody."""
    until = now + case.rules.approval
    return [
        Move(State.CREATED, case.requester, until=until),
        Move(State.APPROVING, SYSTEM, until=until),
        *_passed(case, 0, until, now),
    ]


def cover(case: Case, earlier: str, now: datetime) -> list[Move]:
    """A new request of the very digest that an earlier one was approved for."""
    return [
        Move(State.CREATED, case.requester, until=now + case.rules.approval),
        Move(State.APPROVING, SYSTEM, until=now + case.rules.approval),
        Move(
            State.WAIT_FOR_EXECUTION,
            SYSTEM,
            f"the decision on request {earlier} covers it",
            node=len(case.rules.nodes),
            until=now + case.rules.waiting,
        ),
    ]


def expire(case: Case, now: datetime) -> list[Move]:
    """What time alone has made of the request; nothing while its period lasts."""
    if case.until is None or now <= case.until or case.state not in _EXPIRES:
        return []
    to = _EXPIRES[case.state]
    return [Move(to, SYSTEM, f"{_PERIODS[to]} ended at {_moment(case.until)}", node=case.node)]


def approve(
    case: Case, actor: str, members: AbstractSet[str], comment: str, now: datetime
) -> list[Move]:
    """The actor says yes at the present node, whose members are these now."""
    _require_decider(case, actor, members, now)
    said = Decision(case.node, "approved", comment)
    following = case.node + 1
    if following >= len(case.rules.nodes):
        return [_granted(case, actor, said, now)]
    yes = Move(State.APPROVING, actor, comment, following, case.until, said)
    return [yes, *_passed(case, following, case.until, now)]


def reject(
    case: Case, actor: str, members: AbstractSet[str], comment: str, now: datetime
) -> list[Move]:
    """The actor says no at the present node: the request ends."""
    _require_decider(case, actor, members, now)
    if not comment.strip():
        raise ConfigError("a rejection needs a comment that says why")
    said = Decision(case.node, "rejected", comment)
    return [Move(State.REJECTED, actor, comment, case.node, None, said)]


def cancel(
    case: Case, actor: str, administrators: AbstractSet[str], comment: str, now: datetime
) -> list[Move]:
    """The requester, or an administrator, takes it back before it executes."""
    require_current(case, now)
    if actor != case.requester and actor not in administrators:
        raise Denied(
            f"{actor} may not cancel a request of {case.requester}; that person or an "
            "administrator may"
        )
    if case.state == State.EXECUTING:
        raise Refused("the request is executing; stop its run instead")
    _require_open(case)
    return [Move(State.CANCELLED, actor, comment, case.node)]


def withdraw(case: Case, note: str) -> list[Move]:
    """What asked is gone, or asks for something else: nobody needs to decide any more."""
    if case.state in {State.CREATED, State.APPROVING, State.WAIT_FOR_EXECUTION}:
        return [Move(State.CANCELLED, SYSTEM, note, case.node)]
    return []


def execute(
    case: Case, actor: str, administrators: AbstractSet[str], now: datetime, *, by_hand: bool
) -> list[Move]:
    """The execution starts, or goes on after it failed; nothing to do where it works already.

    ``by_hand``: a person said so. Without it a request that waits for one is refused.
    """
    require_current(case, now)
    if by_hand and actor != case.requester and actor not in administrators:
        raise Denied(
            f"{actor} may not start a request of {case.requester}; that person or an "
            "administrator may"
        )
    if case.state == State.EXECUTING:
        return []
    if case.state == State.EXECUTION_FAILED:
        if case.until is None or now > case.until:
            raise Expired("the time in which the execution may go on is over; ask anew")
        return [Move(State.EXECUTING, actor, "it goes on", case.node, case.until)]
    if case.state != State.WAIT_FOR_EXECUTION:
        raise _ended(case) or Refused("the request is not approved yet, so nothing may execute")
    if case.rules.manual_start and not by_hand:
        raise Refused("the process asks for a start by hand: dsp execute, or Execute now")
    return [Move(State.EXECUTING, actor, "", case.node, now + case.rules.execution)]


def finish(case: Case, note: str, *, succeeded: bool, again: bool = True) -> list[Move]:
    """The execution ended; nothing to do where it has ended already.

    ``again``: a failed one may go on, within the time that it has.
    """
    if case.state != State.EXECUTING:
        return []
    if succeeded:
        return [Move(State.EXECUTION_SUCCEEDED, SYSTEM, note, case.node)]
    until = case.until if again else None
    return [Move(State.EXECUTION_FAILED, SYSTEM, note, case.node, until)]


def require_executing(case: Case, now: datetime) -> None:
    """Raises unless the request is executing and its time is not over."""
    require_current(case, now)
    if case.state != State.EXECUTING:
        raise _ended(case) or Refused(f"the request is {case.state}, so nothing may be written yet")


def require_current(case: Case, now: datetime) -> None:
    """``Expired`` where the period of the present state is over, whoever noticed."""
    for move in expire(case, now):
        raise Expired(f"the request is {move.to}: {move.note}")


def failure(case: Case, reason: str) -> Exception | None:
    """What a request that did not come to its execution means to who waits for it."""
    why = f": {reason}" if reason else ""
    if case.state == State.REJECTED:
        return Rejected(f"the request was rejected{why}")
    if case.state in _EXPIRES.values():
        return Expired(f"the request is {case.state}{why}")
    if case.state == State.CANCELLED:
        return Rejected(f"the request was cancelled{why}")
    return None


def _ended(case: Case) -> Exception | None:
    if case.state in {State.EXECUTION_SUCCEEDED, State.EXECUTION_FAILED}:
        return Refused(f"the request is {case.state}; ask anew")
    return failure(case, "")


def _require_decider(case: Case, actor: str, members: AbstractSet[str], now: datetime) -> None:
    require_current(case, now)
    if case.state != State.APPROVING:
        raise _ended(case) or Refused(f"the request is {case.state}; there is nothing to decide")
    node = case.rules.nodes[case.node]
    if actor not in members:
        who = ", ".join(sorted(members)) or "nobody now"
        raise Denied(f"{actor} may not decide here: it is for {node.label} ({who})")
    if actor == case.requester and not case.rules.requester_may_decide:
        raise Denied(f"{actor} asked for this and may not decide it; the process does not allow it")
    if actor in case.deciders and not case.rules.same_person_may_decide:
        raise Denied(
            f"{actor} has decided an earlier node of this request; another person has to decide "
            "this one"
        )


def _require_open(case: Case) -> None:
    if case.state not in OPEN:
        raise Refused(f"the request is {case.state} already")


def _passed(case: Case, first: int, until: datetime | None, now: datetime) -> Sequence[Move]:
    """Past the automatic nodes, up to one that asks somebody; or the end."""
    moves: list[Move] = []
    for number in range(first, len(case.rules.nodes)):
        if not case.rules.nodes[number].automatic:
            return moves
        said = Decision(number, "automatic")
        if number + 1 == len(case.rules.nodes):
            moves.append(_granted(case, SYSTEM, said, now))
        else:
            moves.append(Move(State.APPROVING, SYSTEM, "", number + 1, until, said))
    return moves


def _granted(case: Case, actor: str, said: Decision, now: datetime) -> Move:
    until = now + case.rules.waiting
    nodes = len(case.rules.nodes)
    return Move(State.WAIT_FOR_EXECUTION, actor, said.comment, nodes, until, said)


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


_PERIODS = {
    State.APPROVAL_EXPIRED: "the time for approval",
    State.WAIT_FOR_EXECUTION_EXPIRED: "the time to wait for the start",
    State.EXECUTION_EXPIRED: "the time for execution",
}
