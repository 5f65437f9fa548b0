"""Every transition of a request, and every way in which time ends one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dsp_airflow.approval import machine
from dsp_airflow.approval.machine import MOVES, Case, Move, Rules, State
from dsp_airflow.config.processes import Node
from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Expired, Refused, Rejected

NOW = datetime(2026, 12, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
OWNERS = frozenset({"olga", "otto", "rita"})
RULES = Rules((Node(role="owners"), Node(user="anna")), 24 * HOUR, 12 * HOUR, 6 * HOUR)
Act = Callable[[Case, datetime], Sequence[Move]]


def made(case: Case, moves: Sequence[Move]) -> Case:
    for move in moves:
        case = machine.after(case, move)
    return case


def asked(rules: Rules = RULES) -> Case:
    case = Case(rules, "rita")
    return made(case, machine.begin(case, NOW))


def once() -> Case:
    case = asked()
    return made(case, machine.approve(case, "otto", OWNERS, "fine", NOW + HOUR))


def granted(rules: Rules = RULES) -> Case:
    case = asked(rules)
    case = made(case, machine.approve(case, "otto", OWNERS, "", NOW + HOUR))
    return made(case, machine.approve(case, "anna", frozenset({"anna"}), "", NOW + 2 * HOUR))


def executing() -> Case:
    case = granted()
    return made(case, machine.execute(case, "dsp", frozenset(), NOW + 3 * HOUR, by_hand=False))


def failed() -> Case:
    case = executing()
    return made(case, machine.finish(case, "a disk was full", succeeded=False))


def test_the_way_to_success_and_its_clocks() -> None:
    case = asked()
    assert (case.state, case.node, case.until) == (State.APPROVING, 0, NOW + 24 * HOUR)
    case = once()
    # One clock for the whole approval: a second node does not begin it anew.
    assert (case.state, case.node, case.until) == (State.APPROVING, 1, NOW + 24 * HOUR)
    case = granted()
    assert (case.state, case.until) == (State.WAIT_FOR_EXECUTION, NOW + 14 * HOUR)
    case = executing()
    assert (case.state, case.until) == (State.EXECUTING, NOW + 9 * HOUR)
    assert machine.execute(case, "dsp", frozenset(), NOW + 4 * HOUR, by_hand=False) == []
    done = made(case, machine.finish(case, "", succeeded=True))
    assert (done.state, done.until) == (State.EXECUTION_SUCCEEDED, None)
    assert machine.finish(done, "late", succeeded=False) == []


@pytest.mark.parametrize(
    ("case", "ends_at", "state"),
    [
        (asked, NOW + 24 * HOUR, State.APPROVAL_EXPIRED),
        (once, NOW + 24 * HOUR, State.APPROVAL_EXPIRED),
        (granted, NOW + 14 * HOUR, State.WAIT_FOR_EXECUTION_EXPIRED),
        (executing, NOW + 9 * HOUR, State.EXECUTION_EXPIRED),
    ],
)
def test_time_ends_what_waits(case: Callable[[], Case], ends_at: datetime, state: State) -> None:
    assert machine.expire(case(), ends_at) == []
    [move] = machine.expire(case(), ends_at + timedelta(milliseconds=1))
    assert (move.to, move.actor) == (state, "dsp")
    ended = made(case(), [move])
    assert machine.expire(ended, NOW + 1000 * HOUR) == []
    assert isinstance(machine.failure(ended, move.note), Expired)


LATE = NOW + 240 * HOUR
ACTS: dict[str, Act] = {
    "approve": lambda case, now: machine.approve(case, "olga", OWNERS | {"anna"}, "", now),
    "reject": lambda case, now: machine.reject(case, "olga", OWNERS | {"anna"}, "no", now),
    "cancel": lambda case, now: machine.cancel(case, "rita", frozenset(), "", now),
    "execute": lambda case, now: machine.execute(case, "rita", frozenset(), now, by_hand=True),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("case", [asked, once, granted, executing])
def test_nobody_acts_once_time_is_over_though_nobody_recorded_it(
    act: str, case: Callable[[], Case]
) -> None:
    with pytest.raises(Expired):
        ACTS[act](case(), LATE)


ENDS: dict[State, Case] = {
    state: replace(granted(), state=state, until=None)
    for state in State
    if state not in machine.OPEN and state != State.EXECUTION_FAILED
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("state", ENDS)
def test_nothing_becomes_of_what_has_ended(act: str, state: State) -> None:
    with pytest.raises(DspError):
        ACTS[act](ENDS[state], NOW)
    assert (
        machine.withdraw(ENDS[state], "") == machine.finish(ENDS[state], "", succeeded=True) == []
    )
    assert MOVES[state] == frozenset()
    with pytest.raises(Refused):
        machine.after(ENDS[state], Move(State.EXECUTING, "mallory"))


def test_no_state_but_the_approved_ones_leads_to_execution() -> None:
    leads = {state for state, following in MOVES.items() if State.EXECUTING in following}
    assert leads == {State.WAIT_FOR_EXECUTION, State.EXECUTION_FAILED}
    grants = {state for state, after in MOVES.items() if State.WAIT_FOR_EXECUTION in after}
    assert grants == {State.APPROVING}


def test_who_may_decide() -> None:
    case = asked()
    with pytest.raises(Denied, match="mallory may not decide here: it is for role owners"):
        machine.approve(case, "mallory", OWNERS, "", NOW)
    with pytest.raises(Denied, match="rita asked for this"):
        machine.approve(case, "rita", OWNERS, "", NOW)
    with pytest.raises(Denied, match="nobody now"):
        machine.approve(case, "otto", frozenset(), "", NOW)
    # A member who was removed meanwhile is none.
    with pytest.raises(Denied):
        machine.reject(case, "otto", OWNERS - {"otto"}, "no", NOW)
    with pytest.raises(ConfigError, match="comment"):
        machine.reject(case, "otto", OWNERS, "  ", NOW)
    second = once()
    with pytest.raises(Denied, match="has decided an earlier node"):
        machine.approve(second, "otto", OWNERS, "", NOW)


def test_what_a_process_may_allow() -> None:
    rules = replace(RULES, requester_may_decide=True, same_person_may_decide=True)
    case = asked(rules)
    case = made(case, machine.approve(case, "rita", OWNERS, "", NOW))
    case = made(case, machine.approve(case, "rita", OWNERS, "", NOW))
    assert case.state == State.WAIT_FOR_EXECUTION


def test_automatic_nodes_pass_and_are_recorded() -> None:
    machine_first = replace(RULES, nodes=(Node(automatic=True), Node(user="anna")))
    moves = machine.begin(Case(machine_first, "rita"), NOW)
    assert [(m.to, m.node) for m in moves] == [
        (State.CREATED, 0),
        (State.APPROVING, 0),
        (State.APPROVING, 1),
    ]
    machine_last = replace(RULES, nodes=(Node(role="owners"), Node(automatic=True)))
    case = asked(machine_last)
    moves = machine.approve(case, "otto", OWNERS, "", NOW)
    verdicts = [(m.decision.node, m.decision.verdict) for m in moves if m.decision]
    assert verdicts == [(0, "approved"), (1, "automatic")]
    assert made(case, moves).state == State.WAIT_FOR_EXECUTION
    alone = asked(replace(RULES, nodes=(Node(automatic=True),)))
    assert (alone.state, alone.deciders) == (State.WAIT_FOR_EXECUTION, frozenset())


def test_a_rejection_says_who_and_why() -> None:
    case = asked()
    [move] = machine.reject(case, "olga", OWNERS, "not on a Friday", NOW)
    assert (move.to, move.actor, move.note) == (State.REJECTED, "olga", "not on a Friday")
    found = machine.failure(made(case, [move]), "not on a Friday, says olga")
    assert isinstance(found, Rejected)
    assert "not on a Friday" in str(found)


def test_who_may_cancel() -> None:
    assert machine.cancel(granted(), "root", frozenset({"root"}), "", NOW + 3 * HOUR)
    with pytest.raises(Denied, match="otto may not cancel a request of rita"):
        machine.cancel(asked(), "otto", frozenset({"root"}), "", NOW)
    with pytest.raises(Refused, match="stop its run"):
        machine.cancel(executing(), "rita", frozenset(), "", NOW + 4 * HOUR)


def test_a_start_by_hand() -> None:
    case, now = granted(replace(RULES, manual_start=True)), NOW + 3 * HOUR
    with pytest.raises(Refused, match="start by hand"):
        machine.execute(case, "dsp", frozenset(), now, by_hand=False)
    with pytest.raises(Denied):
        machine.execute(case, "otto", frozenset(), now, by_hand=True)
    [move] = machine.execute(case, "rita", frozenset(), now, by_hand=True)
    assert (move.to, move.until) == (State.EXECUTING, now + 6 * HOUR)
    with pytest.raises(Refused, match="not approved yet"):
        machine.execute(asked(), "rita", frozenset(), NOW, by_hand=True)


def test_a_failed_execution_goes_on_within_its_time() -> None:
    case = failed()
    assert (case.state, case.until) == (State.EXECUTION_FAILED, NOW + 9 * HOUR)
    [move] = machine.execute(case, "dsp", frozenset(), NOW + 5 * HOUR, by_hand=False)
    assert (move.to, move.until) == (State.EXECUTING, NOW + 9 * HOUR)
    with pytest.raises(Expired):
        machine.execute(case, "dsp", frozenset(), NOW + 10 * HOUR, by_hand=False)
    void = executing()
    void = made(void, machine.finish(void, "edited", succeeded=False, again=False))
    with pytest.raises(Expired):
        machine.execute(void, "dsp", frozenset(), NOW + 4 * HOUR, by_hand=False)


def test_what_is_covered_is_granted_without_a_decision() -> None:
    case = Case(RULES, "airflow")
    moves = machine.cover(case, "R1", NOW)
    assert [move.decision for move in moves] == [None, None, None]
    assert "R1" in moves[-1].note
    assert made(case, moves).state == State.WAIT_FOR_EXECUTION
