"""Requests for approval in the state database: asking, deciding, starting, ending.

Each method is one short transaction that locks the request, lets time pass for it, asks the state
machine, and records what it says: the request, the transition, the audit and the mails together
or not at all. So of two people who decide at once the second sees what the first one did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, text, update

from dsp_airflow.approval import lookup, machine, mails, people, permission
from dsp_airflow.approval.machine import Move, State
from dsp_airflow.approval.matching import level_for
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.records import (
    PERMISSION,
    Changed,
    Decided,
    Request,
    alike,
    latest,
    members_of,
    present,
)
from dsp_airflow.approval.settings import tolerance
from dsp_airflow.approval.subject import Subject, digest_of
from dsp_airflow.config.processes import (
    ADMINISTRATORS,
    Process,
    process_values,
)
from dsp_airflow.engine.errors import Denied, Refused, Transient
from dsp_airflow.permissions.checks import require_approving
from dsp_airflow.state import audit
from dsp_airflow.state.codec import canonical, message
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.runs import run_id
from dsp_airflow.state.tables import DECISIONS, REQUEST_CHANGES, REQUESTS

Clock = Callable[[Connection], datetime]
_LOCK = 7_203_911_446
"""PostgreSQL's advisory lock for asking."""


class Requests:
    """All requests of a state database. ``clock`` gives the time inside a transaction."""

    def __init__(
        self,
        database: StateDatabase,
        *,
        processes: Processes | None = None,
        clock: Clock = clock,
    ) -> None:
        self.database = database
        self.processes = processes or Processes(database)
        self._clock = clock

    # Asking

    def ask(self, key: str, subject: Subject, requester: str) -> Request:
        """The request of this key for this very subject; a new one where there is none open.

        ``key`` names what asks, such as one DAG run. What it asked before, and asks no longer, is
        withdrawn. Raises ``Refused`` where nobody can be asked.
        """
        process = self.processes.process_for(subject.ask, subject.process)
        level = level_for(process, subject.ask)
        with self.database.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": _LOCK})
            now = self._clock(connection)
            before = latest(connection, REQUESTS.c.key == key)
            if before is not None:
                before = self._apply(connection, before, machine.expire(before.case, now), now)
                if before.digest == subject.digest and _goes_on(before, now):
                    return before
                self._drop(connection, before, now)
            return self._create(connection, key, subject, requester, process, level, before, now)

    def _create(
        self,
        connection: Connection,
        key: str,
        subject: Subject,
        requester: str,
        process: Process,
        level: int,
        before: Request | None,
        now: datetime,
    ) -> Request:
        approved = self._approved(connection, subject)
        request = Request(
            id=run_id(now),
            key=key,
            number=1 if before is None else before.number + 1,
            task=subject.task,
            title=subject.title,
            task_type=subject.task_type,
            process=process,
            level=level,
            evidence=subject.evidence(None if approved is None else approved.evidence),
            digest=subject.digest,
            requester=requester,
            created_at=now,
            standing=process.approve == "definition" and subject.task_type != PERMISSION,
        )
        covers = self._covering(connection, request)
        if covers is not None:
            request = replace(request, covered_by=covers.id, standing=False)
        connection.execute(
            insert(REQUESTS).values(
                id=request.id,
                key=key,
                number=request.number,
                task=request.task,
                title=request.title,
                task_type=request.task_type,
                process=process.name,
                level=level,
                snapshot=canonical(process_values(process)),
                evidence=canonical(request.evidence),
                digest=request.digest,
                requester=requester,
                # The moves that follow say where it stands.
                state=State.CREATED,
                node=0,
                version=0,
                covered_by=request.covered_by,
                standing=request.standing,
                created_at=now,
            )
        )
        moves = (
            machine.begin(request.case, now)
            if covers is None
            else machine.cover(request.case, covers.id, now)
        )
        return self._apply(connection, request, moves, now)

    def _approved(self, connection: Connection, subject: Subject) -> Request | None:
        """The last request of the same task that was approved."""
        return latest(
            connection,
            REQUESTS.c.task == subject.task,
            REQUESTS.c.task_type == subject.task_type,
            REQUESTS.c.state.in_(sorted(machine.APPROVED)),
        )

    def _covering(self, connection: Connection, request: Request) -> Request | None:
        """The request whose decision covers this one too, by the word of their process.

        It is the last one of the task that people decided on; it was approved for the very same
        digest, by the very same process and level, and for about as many rows, also of those that
        a target loses; and not by the person who asks now.
        """
        if not request.standing:
            return None
        last = latest(
            connection,
            REQUESTS.c.task == request.task,
            REQUESTS.c.task_type == request.task_type,
            REQUESTS.c.covered_by.is_(None),
            REQUESTS.c.state.not_in([State.CREATED, State.APPROVING]),
        )
        if last is None or not last.standing or last.state not in machine.APPROVED:
            return None
        same = (last.digest, last.process, last.level) == (
            request.digest,
            request.process,
            request.level,
        )
        close = alike(last.evidence, request.evidence, tolerance())
        own = request.requester in last.case.deciders and not request.process.requester_may_decide
        return last if same and close and not own else None

    def _drop(self, connection: Connection, request: Request, now: datetime) -> None:
        note = "it was asked anew"
        moves = machine.withdraw(request.case, note) or machine.finish(
            request.case, note, succeeded=False, again=False
        )
        self._apply(connection, request, moves, now)

    # Deciding

    def decide(
        self,
        request: str,
        actor: str,
        comment: str = "",
        *,
        approved: bool,
        seen: int | None = None,
        digest: str | None = None,
        address: str | None = None,
    ) -> Request:
        """A yes or a no at the node that decides next.

        ``seen`` is the version, and ``digest`` what the actor had before the eyes: ``Refused``
        where the request is another by now.
        """
        self._let_time_pass(request)
        with self._changing(request) as (connection, found, now):
            if seen is not None and seen != found.version:
                raise Refused(
                    f"request {request} has changed since you looked; look again and decide then"
                )
            if digest is not None and digest != found.digest:
                raise Refused(f"request {request} is for another definition than the one you saw")
            if approved:
                require_approving(connection, actor, found.connections)
            act = machine.approve if approved else machine.reject
            members = members_of(connection, found)
            moves = act(found.case, actor, members, comment, now)
            return self._apply(connection, found, moves, now, address)

    def cancel(
        self, request: str, actor: str, comment: str = "", *, address: str | None = None
    ) -> Request:
        """Takes a request back; of one that has ended, the later requests that it would cover."""
        self._let_time_pass(request)
        with self._changing(request) as (connection, found, now):
            administrators = people.members(connection, ADMINISTRATORS)
            if found.standing and found.state in machine.APPROVED and not found.open:
                may = actor == found.requester or actor in administrators
                return self._revoke(connection, found, actor, comment, may=may)
            moves = machine.cancel(found.case, actor, administrators, comment, now)
            return self._apply(connection, found, moves, now, address)

    def _revoke(
        self,
        connection: Connection,
        request: Request,
        actor: str,
        comment: str,
        *,
        may: bool,
    ) -> Request:
        if not may:
            raise Denied(f"{actor} may not revoke a decision that {request.requester} asked for")
        connection.execute(
            update(REQUESTS).where(REQUESTS.c.id == request.id).values(standing=False)
        )
        audit.record(
            connection,
            actor=actor,
            action="request.revoke",
            object=f"request {request.id}",
            after={"comment": comment},
        )
        return replace(request, standing=False)

    # Executing

    def execute(
        self, request: str, actor: str, *, by_hand: bool = True, address: str | None = None
    ) -> Request:
        """Starts the execution of an approved request; see ``machine.execute``."""
        self._let_time_pass(request)
        with self._changing(request) as (connection, found, now):
            administrators = people.members(connection, ADMINISTRATORS)
            moves = machine.execute(found.case, actor, administrators, now, by_hand=by_hand)
            return self._apply(connection, found, moves, now, address)

    def look(self, request: str) -> Request:
        """The request as time has left it; one that may start by itself is started."""
        with self._changing(request) as (connection, found, now):
            moves = machine.expire(found.case, now)
            starts = found.state == State.WAIT_FOR_EXECUTION
            if not moves and starts and not found.case.rules.manual_start:
                moves = machine.execute(found.case, machine.SYSTEM, frozenset(), now, by_hand=False)
            return self._apply(connection, found, moves, now)

    def enter(self, key: str) -> Request:
        """The request under which what has this key may write now.

        Raises ``Refused``, ``Expired`` or ``Rejected`` unless it is executing, or failed and may
        still go on.
        """
        known = self.find(key)
        if known is None:
            raise Refused(
                f"nobody was asked to approve {key}; an approval has to come before this step"
            )
        self._let_time_pass(known.id)
        with self._changing(known.id) as (connection, found, now):
            if found.state == State.EXECUTION_FAILED:
                moves = machine.execute(found.case, machine.SYSTEM, frozenset(), now, by_hand=False)
                return self._apply(connection, found, moves, now)
            machine.require_executing(found.case, now)
            return found

    def resume(self, key: str) -> None:
        """A failed execution goes on, where there is one that may."""
        known = self.find(key)
        if known is None or known.state != State.EXECUTION_FAILED:
            return
        with self._changing(known.id) as (connection, found, now):
            if found.state == State.EXECUTION_FAILED and _goes_on(found, now):
                moves = machine.execute(found.case, machine.SYSTEM, frozenset(), now, by_hand=False)
                self._apply(connection, found, moves, now)

    def still(self, request: str) -> Request:
        """As ``look``, reading only unless the time of the execution is over."""
        found = self.get(request)
        with self.database.read() as connection:
            now = self._clock(connection)
        return self.look(request) if machine.expire(found.case, now) else found

    def expire_due(self) -> int:
        """Records every end that time has brought and nobody has noticed; how many there were."""
        with self.database.read() as connection:
            due = connection.execute(
                select(REQUESTS.c.id).where(
                    REQUESTS.c.state.in_(sorted(machine.OPEN)),
                    REQUESTS.c.until < self._clock(connection),
                )
            )
            ids = list(due.scalars())
        for request in ids:
            self._expire(request)
        return len(ids)

    def void(self, request: str, why: str) -> Request:
        """What was approved is not what would be done: its execution ends, for good."""
        with self._changing(request) as (connection, found, now):
            moves = machine.finish(found.case, why, succeeded=False, again=False)
            return self._apply(connection, found, moves, now)

    def close(self, key: str, note: str, *, succeeded: bool) -> Request | None:
        """What has this key has ended; a request that was still waiting is withdrawn."""
        found = self.finish(key, note, succeeded=succeeded)
        if found is None or not found.open:
            return found
        self._let_time_pass(found.id)
        with self._changing(found.id) as (connection, request, now):
            return self._apply(connection, request, machine.withdraw(request.case, note), now)

    def finish(self, key: str, note: str, *, succeeded: bool) -> Request | None:
        """The execution that has this key has ended, if there is one."""
        known = self.find(key)
        if known is None or known.state != State.EXECUTING:
            return known
        with self._changing(known.id) as (connection, found, now):
            moves = machine.finish(found.case, note, succeeded=succeeded)
            return self._apply(connection, found, moves, now)

    # Looking

    def get(self, request: str) -> Request:
        """One request; ``ConfigError`` when there is none of this id."""
        with self.database.read() as connection:
            return present(connection, request)

    def find(self, key: str) -> Request | None:
        """The latest request of a key."""
        with self.database.read() as connection:
            return latest(connection, REQUESTS.c.key == key)

    def recent(self, **wanted: Any) -> list[Request]:
        """See ``lookup.recent``."""
        with self.database.read() as connection:
            return lookup.recent(connection, **wanted)

    def waiting_for(self, user: str) -> list[Request]:
        """See ``lookup.waiting_for``."""
        with self.database.read() as connection:
            return lookup.waiting_for(connection, user, self._clock(connection))

    def history(self, request: str) -> list[Changed]:
        """See ``lookup.history``."""
        with self.database.read() as connection:
            return lookup.history(connection, request)

    def settled(self, requests: Iterable[str]) -> set[str]:
        """See ``lookup.settled``."""
        with self.database.read() as connection:
            return lookup.settled(connection, requests, self._clock(connection))

    def members(self, request: Request) -> frozenset[str]:
        """See ``records.members_of``."""
        with self.database.read() as connection:
            return members_of(connection, request)

    def waits_for(self, request: Request) -> str:
        """The node that decides next, with those who may; where nobody may, how somebody could."""
        node = request.waits_for
        if node is None:
            return ""
        nobody = f"nobody now; dsp role add {node.role} USER names somebody"
        return f"{node.label} ({', '.join(sorted(self.members(request))) or nobody})"

    # Helpers

    @contextmanager
    def _changing(self, request: str) -> Iterator[tuple[Connection, Request, datetime]]:
        """The request, locked until what follows is recorded."""
        with self.database.write() as connection:
            found = present(connection, request, for_update=True)
            yield connection, found, self._clock(connection)

    def _let_time_pass(self, request: str) -> None:
        """Records an end by time, which stands even where the act that follows is refused."""
        with self.database.read() as connection:
            found, now = present(connection, request), self._clock(connection)
        if machine.expire(found.case, now):
            self._expire(request)

    def _expire(self, request: str) -> None:
        with self._changing(request) as (connection, found, now):
            self._apply(connection, found, machine.expire(found.case, now), now)

    def _apply(
        self,
        connection: Connection,
        request: Request,
        moves: Sequence[Move],
        now: datetime,
        address: str | None = None,
    ) -> Request:
        """Records the moves, one by one; nobody can have moved the request meanwhile."""
        for move in moves:
            request = self._move(connection, request, move, now, address)
        if moves:
            members = members_of(connection, request)
            mails.write(connection, request, moves, members)
        return self._grant(connection, request, now) if permission.is_due(request) else request

    def _grant(self, connection: Connection, request: Request, now: datetime) -> Request:
        """Makes what was applied for, with the agreement or not at all."""
        if digest_of(request.evidence["bound"]) != request.digest:
            raise Refused(f"request {request.id} is not what was decided on; reject it")
        moves = machine.execute(request.case, machine.SYSTEM, frozenset(), now, by_hand=False)
        for move in moves:
            request = self._move(connection, request, move, now, None)
        grant = permission.made(connection, request)
        done = machine.finish(request.case, f"grant {grant.id} was made", succeeded=True)
        for move in done:
            request = self._move(connection, request, move, now, None)
        return request

    def _move(
        self,
        connection: Connection,
        request: Request,
        move: Move,
        now: datetime,
        address: str | None,
    ) -> Request:
        machine.after(request.case, move)
        ends = move.to not in machine.OPEN
        version = request.version + 1
        changed = connection.execute(
            update(REQUESTS)
            .where(REQUESTS.c.id == request.id, REQUESTS.c.version == request.version)
            .values(
                state=move.to,
                node=move.node,
                until=move.until,
                version=version,
                reason=message(move.note),
                ended_at=now if ends else None,
            )
        )
        if changed.rowcount != 1:
            raise Transient(f"request {request.id} was changed by somebody else meanwhile")
        connection.execute(
            insert(REQUEST_CHANGES).values(
                request=request.id,
                version=version,
                before=request.state,
                after=move.to,
                actor=move.actor,
                note=message(move.note) or "",
                changed_at=now,
            )
        )
        decisions = request.decisions
        if move.decision is not None:
            said = Decided(
                move.decision.node,
                move.actor,
                move.decision.verdict,
                message(move.decision.comment) or "",
                request.digest,
                now,
            )
            connection.execute(
                insert(DECISIONS).values(
                    request=request.id,
                    node=said.node,
                    actor=said.actor,
                    verdict=said.verdict,
                    comment=said.comment,
                    digest=said.digest,
                    decided_at=now,
                )
            )
            decisions = (*decisions, said)
        audit.record(
            connection,
            actor=move.actor,
            action=f"request.{move.to.lower()}",
            object=f"request {request.id}",
            before={"state": request.state},
            after={"state": move.to, "digest": request.digest, "note": move.note},
            address=address,
        )
        return replace(
            request,
            state=move.to,
            node=move.node,
            until=move.until,
            version=version,
            reason=move.note,
            ended_at=now if ends else None,
            decisions=decisions,
        )


def _goes_on(request: Request, now: datetime) -> bool:
    if request.state == State.EXECUTION_FAILED:
        return request.until is not None and now <= request.until
    return request.open
