"""Whatever people, clocks and crashes do in whatever order: nothing is written but what everybody
who has to has agreed to, in time, and for exactly this definition.

The test keeps its own books, by the rules as the documentation says them, and compares at each
write that gets through.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Connection

from dsp_airflow.approval.gate import ApprovedGate
from dsp_airflow.approval.machine import State
from dsp_airflow.approval.matching import Touched
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.requests import Requests
from dsp_airflow.approval.subject import Subject
from dsp_airflow.config.processes import Process
from dsp_airflow.engine.errors import DspError
from dsp_airflow.engine.model import Plan
from dsp_airflow.state import audit
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from tests.share import full

HOUR = timedelta(hours=1)
KEY = "dag/run"
USERS = ("olga", "otto", "rita", "root")
ROLES = ("owners", "administrators")
SEQUENCES = 200 if full() else 8
ACTS = 120
WEIGHTS = {
    "ask": 4,
    "decide": 12,
    "look": 6,
    "write": 10,
    "execute": 3,
    "cancel": 1,
    "wait": 3,
    "edit_definition": 2,
    "edit_process": 1,
    "people": 2,
    "end": 3,
    "restart": 1,
}


REACHED = {
    "written",
    "written after a failure",
    "ended, withdrawn or void",
    "void, though it is as it was approved again",
    "not granted",
    "not started",
    "too late",
    "too late after a failure",
    "edited",
    "edited after a failure",
}


@dataclass
class Book:
    """What was done about one request, as the test saw it."""

    definition: int
    nodes: tuple[tuple[str, ...], ...]
    """Of each node the role, or nothing where it passes by itself."""
    manual: bool
    requester: str
    asked: datetime
    yes: list[str] = field(default_factory=list)
    """Who said yes, in the order of the nodes that ask somebody."""
    granted: datetime | None = None
    started: datetime | None = None
    failed: bool = False
    """A step did, so that it may go on while its time lasts."""
    void: bool = False
    """Something else would have been done; what was approved may not be done any more, either."""
    dead: bool = False

    @property
    def needed(self) -> int:
        return sum(1 for node in self.nodes if node)


class World:
    """One state database, its people, and the books."""

    def __init__(self, state: StateDatabase, folder: Path, seed: int) -> None:
        self.state = state
        self.folder = folder
        self.dice = random.Random(seed)
        self.now = datetime(2026, 12, 1, tzinfo=UTC)
        self.definition = 1
        self.people: dict[str, set[str]] = {role: set() for role in ROLES}
        self.books: dict[str, Book] = {}
        self.latest: str | None = None
        self.reached = Counter[str]()
        """What the sequence came to: writes, and why others were refused."""
        self.process = self.random_process()
        self.restart()
        for role, user in (("owners", "olga"), ("owners", "otto"), ("administrators", "root")):
            self.person(role, user)
        self.processes().create(self.process, "root")

    def processes(self) -> Processes:
        return Processes(self.state, self.folder)

    def clock(self, _: Connection) -> datetime:
        return self.now

    def person(self, role: str, user: str, actor: str = "root") -> None:
        """Gives the role or takes it, unless the actor may not, or nobody would be left."""
        mine, administrators = self.people[role], self.people["administrators"]
        gives = user not in mine
        act = Roles(self.state).add if gives else Roles(self.state).remove
        allowed = not administrators or actor in administrators
        last = role == "administrators" and mine == {user}
        try:
            assert act(role, user, actor)
        except DspError:
            assert not allowed or last
        else:
            assert allowed
            assert not last
            self.people[role] = mine ^ {user}

    def random_process(self) -> Process:
        choices: list[dict[str, Any]] = [
            {"role": "owners"},
            {"role": "administrators"},
            {"automatic": True},
        ]
        nodes = [self.dice.choice(choices) for _ in range(self.dice.randint(1, 3))]
        if all("automatic" in node for node in nodes):
            nodes.append({"role": "owners"})
        return Process.model_validate(
            {
                "name": "P",
                "task_type": "warm",
                "levels": [{"nodes": nodes}],
                "validity": {"approval": "20h", "waiting": "10h", "execution": "10h"},
                "start": self.dice.choice(["automatic", "manual"]),
            }
        )

    # Acts

    def restart(self) -> None:
        self.requests = Requests(self.state, processes=self.processes(), clock=self.clock)

    def ask(self) -> None:
        subject = Subject(
            task="t",
            title="T",
            task_type="warm",
            subtypes=frozenset({"insert"}),
            connections=(Touched("c"),),
            bound={"jobs": {"job": {"definition": str(self.definition)}}},
            shown={"jobs": [{"name": "job", "rows": 1, "purge": "none"}]},
        )
        requester = self.dice.choice(["rita", "olga"])
        found = self.requests.ask(KEY, subject, requester)
        if found.id not in self.books:
            for book in self.books.values():
                book.dead = True
            nodes = tuple((n.role,) if n.role else () for n in self.process.levels[0].nodes)
            manual = self.process.start == "manual"
            self.books[found.id] = Book(self.definition, nodes, manual, requester, self.now)
            self.latest = found.id
        assert (found.id, found.digest) == (self.latest, subject.digest)
        # Nobody is asked for what nobody asks for any more.
        assert [one.id for one in self.requests.recent() if one.open and one.id != found.id] == []

    def decide(self) -> None:
        assert self.latest is not None
        book = self.books[self.latest]
        user, approved = self.dice.choice(self.likely(book)), self.dice.random() < 0.9
        self.requests.decide(self.latest, user, "because", approved=approved)
        # It was accepted, so by the rules it had to be.
        role = [node for node in book.nodes if node][len(book.yes)][0]
        assert user in self.people[role]
        assert user != book.requester
        assert user not in book.yes
        assert self.now <= book.asked + 20 * HOUR
        assert not book.dead
        if not approved:
            book.dead = True
            return
        book.yes.append(user)
        if len(book.yes) == book.needed:
            book.granted = self.now

    def likely(self, book: Book) -> list[str]:
        """Mostly who may decide, so that the sequences come to something; else anybody."""
        left = [node[0] for node in book.nodes if node][len(book.yes) :]
        fit = self.people[left[0]] - {book.requester, *book.yes} if left else set()
        return sorted(fit) if fit and self.dice.random() < 0.7 else list(USERS)

    def look(self) -> None:
        assert self.latest is not None
        self.started(self.requests.look(self.latest).state, by_hand=False)

    def execute(self) -> None:
        assert self.latest is not None
        user = self.dice.choice(USERS)
        found = self.requests.execute(self.latest, user)
        assert user == self.books[self.latest].requester or user in self.people["administrators"]
        self.started(found.state, by_hand=True)

    def started(self, state: State | None, *, by_hand: bool) -> None:
        assert self.latest is not None
        book = self.books[self.latest]
        if state == State.EXECUTING and book.started is None:
            assert by_hand or not book.manual
            assert book.granted is not None
            assert self.now <= book.granted + 10 * HOUR
            book.started = self.now

    def cancel(self) -> None:
        assert self.latest is not None
        user, book = self.dice.choice(USERS), self.books[self.latest]
        self.requests.cancel(self.latest, user, "enough")
        assert user == book.requester or user in self.people["administrators"]
        book.dead = True

    def wait(self) -> None:
        self.now += self.dice.choice([1, 1, 3, 8, 15]) * HOUR
        if self.dice.random() < 0.5:
            self.requests.expire_due()

    def edit_definition(self) -> None:
        self.definition = 3 - self.definition

    def edit_process(self) -> None:
        process = self.random_process()
        editor = self.dice.choice(USERS)
        self.processes().edit("P", process, editor)
        assert editor in self.people["administrators"] or not self.people["administrators"]
        self.process = process

    def people_change(self) -> None:
        self.person(self.dice.choice(ROLES), self.dice.choice(USERS), self.dice.choice(USERS))

    def end(self) -> None:
        succeeded = self.dice.random() < 0.3
        found = self.requests.close(KEY, "it ended", succeeded=succeeded)
        if found is not None:
            self.books[found.id].failed = found.state == State.EXECUTION_FAILED
            self.books[found.id].dead |= found.state != State.EXECUTION_FAILED

    def write(self) -> None:
        plan = cast("Plan", SimpleNamespace(job="job", definition=str(self.definition), rows=1))
        ApprovedGate(self.requests, KEY).copying(plan)
        # It got through.
        assert self.latest is not None
        book = self.books[self.latest]
        assert not book.dead
        assert book.definition == self.definition
        assert len(book.yes) == book.needed > 0
        assert len(set(book.yes)) == len(book.yes)
        assert book.requester not in book.yes
        assert book.started is not None
        assert self.now <= book.started + 10 * HOUR
        self.reached["written after a failure" if book.failed else "written"] += 1

    def act(self) -> None:
        name = self.dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        book = None if self.latest is None else self.books[self.latest]
        if self.dice.random() < 0.5:
            # What would bring it further.
            if book is not None and book.void:
                name = self.dice.choice(["write", "edit_definition"])
            elif book is None or book.dead:
                name = "ask"
            elif book.started is not None:
                name = self.dice.choice(["write", "write", "end", "wait", "edit_definition"])
            elif book.granted is None:
                name = self.dice.choice(["decide", "decide", "ask"])
        act: Any = self.people_change if name == "people" else getattr(self, name)
        if self.latest is None and name in {"decide", "look", "execute", "cancel", "write"}:
            return
        try:
            act()
        except DspError:
            self.refused(name)

    def refused(self, name: str) -> None:
        """By the rules, too; a write that is refused for another definition voids the request."""
        if name != "write" or self.latest is None:
            return
        book = self.books[self.latest]
        why = self.why_not(book)
        assert why, "a write was refused that everybody has agreed to"
        self.reached[why] += 1
        if why.startswith("edited"):
            book.void = book.dead = True

    def why_not(self, book: Book) -> str:
        """Why the documentation says that nothing may be written."""
        if book.void and book.definition == self.definition:
            return "void, though it is as it was approved again"
        if book.dead:
            return "ended, withdrawn or void"
        if book.started is None:
            return "not granted" if book.granted is None else "not started"
        after = " after a failure" if book.failed else ""
        if self.now > book.started + 10 * HOUR:
            return f"too late{after}"
        return f"edited{after}" if book.definition != self.definition else ""


@pytest.mark.share
def test_nothing_is_written_but_what_was_agreed_to(tmp_path: Path) -> None:
    folder = tmp_path / "processes"
    folder.mkdir()
    reached = Counter[str]()
    for seed in range(SEQUENCES):
        url = f"sqlite:///{tmp_path / f'{seed}.db'}"
        upgrade(url)
        with open_state(url) as state:
            world = World(state, folder, seed)
            for _ in range(ACTS):
                world.act()
            reached += world.reached
            assert audit.verify(state) == []
    # The sequences reach what they are about.
    assert set(reached) == REACHED, reached
    assert reached["written"] >= SEQUENCES // 2
