"""One look for all who wait, and nothing but a settled request wakes anybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import Engine, event

from dsp_airflow.approval.matching import Touched
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.requests import Requests
from dsp_airflow.approval.subject import Subject
from dsp_airflow.engine.errors import Transient
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from dsp_airflow.triggers import approval
from dsp_airflow.triggers.approval import ApprovalTrigger

WAITING = 100
SECONDS = 0.5


@pytest.fixture(params=["sqlite", "pg15"])
def state(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StateDatabase]:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    if request.param == "pg15":
        url = request.getfixturevalue("pg15_db").sqlalchemy_url
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", url)
    monkeypatch.setenv("AIRFLOW__DSP__PROCESSES_FOLDER", str(tmp_path / "processes"))
    (tmp_path / "processes").mkdir()
    upgrade()
    with open_state() as database:
        Roles(database).add("administrators", "root", "test")
        yield database


def ask(state: StateDatabase, number: int) -> str:
    subject = Subject(
        task=f"task_{number}",
        title="T",
        task_type="warm",
        subtypes=frozenset({"insert"}),
        connections=(Touched("c"),),
        bound={"number": number},
    )
    return Requests(state).ask(f"dag/{number}", subject, "rita").id


class Counted:
    """What is sent to the state database while the block lasts, its transactions among it."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def __enter__(self) -> Self:
        for name, listener in self._listeners().items():
            event.listen(Engine, name, listener)
        return self

    def __exit__(self, *_: object) -> None:
        for name, listener in self._listeners().items():
            event.remove(Engine, name, listener)

    def _listeners(self) -> dict[str, Any]:
        return {
            "before_cursor_execute": self._statement,
            "begin": self._transaction,
            "commit": self._transaction,
            "rollback": self._transaction,
        }

    def _statement(self, _c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.statements.append(statement)

    def _transaction(self, _: Any) -> None:
        self.statements.append("BEGIN, COMMIT or ROLLBACK")

    @property
    def looks(self) -> int:
        return sum("requests.snapshot" in one for one in self.statements)


@contextlib.asynccontextmanager
async def waiting(requests: list[str], seconds: float) -> AsyncIterator[dict[str, Any]]:
    """A trigger for each, in one event loop, as a triggerer has them."""

    async def woken(request: str) -> str:
        trigger = ApprovalTrigger(request, seconds)
        path, arguments = trigger.serialize()
        assert path == "dsp_airflow.triggers.approval.ApprovalTrigger"
        assert await anext(ApprovalTrigger(**arguments).run()) is not None
        return request

    tasks = {one: asyncio.create_task(woken(one)) for one in requests}
    await asyncio.sleep(0)
    yield tasks
    for task in tasks.values():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert approval.Watch.of_this_loop()._waiting == {}


def done(tasks: dict[str, Any]) -> list[str]:
    return [one for one, task in tasks.items() if task.done()]


def test_a_hundred_wait_at_the_price_of_one(
    state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [ask(state, number) for number in range(WAITING)]
    away = False

    def open_or_not() -> StateDatabase:
        if away:
            raise Transient("the state database is away")
        return open_state()

    monkeypatch.setattr("dsp_airflow.triggers.approval.open_state", open_or_not)
    counted = Counted()

    async def wait() -> None:
        nonlocal away
        async with waiting(requests, SECONDS) as tasks:
            await asyncio.sleep(2 * SECONDS)
            with counted:
                await asyncio.sleep(4 * SECONDS)
            assert done(tasks) == []
            away = True
            await asyncio.to_thread(Requests(state).decide, requests[7], "root", approved=True)
            await asyncio.sleep(2 * SECONDS)
            # Nobody could look, so nobody is woken.
            assert done(tasks) == []
            away = False
            assert await asyncio.wait_for(tasks.pop(requests[7]), 20) == requests[7]
            assert done(tasks) == []

    asyncio.run(wait())
    assert counted.looks >= 1
    # A look every 30 seconds costs less than one statement a second, however many wait.
    assert len(counted.statements) / counted.looks < approval.LOOK_EVERY


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_what_a_hundred_cost_a_second_at_the_pace_of_a_triggerer(state: StateDatabase) -> None:
    requests = [ask(state, number) for number in range(WAITING)]
    seconds = 2 * approval.LOOK_EVERY + 5

    async def wait() -> None:
        async with waiting(requests, approval.LOOK_EVERY) as tasks:
            await asyncio.sleep(seconds)
            assert done(tasks) == []

    with Counted() as counted:
        asyncio.run(wait())
    # One when they come, and one every 30 seconds.
    assert counted.looks == 3
    assert len(counted.statements) / seconds < 1
