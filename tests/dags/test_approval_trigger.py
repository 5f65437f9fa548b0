"""One look for all who wait, and nothing but a settled request wakes anybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateDatabase]:
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path / 'state.db'}")
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


def test_a_hundred_wait_at_the_price_of_one(
    state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [ask(state, number) for number in range(WAITING)]
    statements: list[str] = []

    def count(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    away = False

    def open_or_not() -> StateDatabase:
        if away:
            raise Transient("the state database is away")
        return open_state()

    monkeypatch.setattr("dsp_airflow.triggers.approval.open_state", open_or_not)

    async def wait() -> None:
        nonlocal away

        async def woken(request: str) -> str:
            trigger = ApprovalTrigger(request, SECONDS)
            path, arguments = trigger.serialize()
            assert path == "dsp_airflow.triggers.approval.ApprovalTrigger"
            assert await anext(ApprovalTrigger(**arguments).run()) is not None
            return request

        tasks = {one: asyncio.create_task(woken(one)) for one in requests}
        await asyncio.sleep(2 * SECONDS)
        event.listen(Engine, "before_cursor_execute", count)
        await asyncio.sleep(4 * SECONDS)
        event.remove(Engine, "before_cursor_execute", count)
        assert [one for one, task in tasks.items() if task.done()] == []
        away = True
        await asyncio.to_thread(Requests(state).decide, requests[7], "root", approved=True)
        await asyncio.sleep(2 * SECONDS)
        # Nobody could look, so nobody is woken.
        assert [one for one, task in tasks.items() if task.done()] == []
        away = False
        assert await asyncio.wait_for(tasks.pop(requests[7]), 20) == requests[7]
        assert [one for one, task in tasks.items() if task.done()] == []
        for task in tasks.values():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert approval.Watch.of_this_loop()._waiting == {}

    asyncio.run(wait())
    looks = sum("FROM requests" in one and "IN (" in one for one in statements)
    assert looks >= 1
    # A look every 30 seconds costs less than one statement a second, however many wait.
    assert len(statements) / max(looks, 1) < 20
