"""What the tests run in processes of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from dsp_airflow.state import audit
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from dsp_airflow.state.leases import table_lease
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.outbox import Outbox
from dsp_airflow.state.runs import Runs
from tests.state.samples import copied, purge_all

_context = multiprocessing.get_context("fork")


def together(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Runs ``work`` in so many processes at once; returns what each gave."""
    barrier = _context.Barrier(count)
    started = []
    for _ in range(count):
        ours, theirs = _context.Pipe(duplex=False)
        process = _context.Process(target=_report, args=(theirs, barrier, work, arguments))
        process.start()
        theirs.close()
        started.append((process, ours))
    results = []
    for process, pipe in started:
        results.append(pipe.recv() if pipe.poll(120) else TimeoutError())
        process.join(10)
        assert process.exitcode == 0
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def _report(pipe: Connection, barrier: Any, work: Callable[..., Any], arguments: Any) -> None:
    barrier.wait(60)
    try:
        pipe.send(work(*arguments))
    except Exception as error:  # noqa: BLE001 - told to the parent
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def killed(work: Callable[..., Any], *arguments: Any) -> Any:
    """Runs ``work(pipe, ...)`` in a process and SIGKILLs it once it has sent something."""
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=work, args=(theirs, *arguments))
    process.start()
    theirs.close()
    assert ours.poll(60)
    result = ours.recv()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    return result, process


def copy_claims(url: str, run: str, job: str) -> list[tuple[int, int]]:
    with open_state(url) as database:
        ledger, mine = SqlLedger(database, run, job), []
        while claim := ledger.claim("copy"):
            ledger.copied(claim, copied())
            mine.append((claim.batch.number, claim.token))
        while ledger.waiting("copy"):
            time.sleep(0.01)
        return mine


def hold_batch(pipe: Connection, url: str, run: str, job: str) -> None:
    with open_state(url) as database:
        claim = SqlLedger(database, run, job).claim("copy")
        assert claim is not None
        pipe.send((claim.batch.number, claim.token))
        time.sleep(600)


def hold_table(pipe: Connection, url: str, resource: str, owner: str | None) -> None:
    from dsp_airflow.state.owner import owner_name

    with (
        open_state(url) as database,
        table_lease(database, resource, owner or owner_name(), ttl=timedelta(seconds=30)),
    ):
        pipe.send("held")
        time.sleep(600)


def create(url: str) -> str:
    if url.startswith("sqlite"):
        with open_state(url, create=True) as database:
            return str(database.now())
    upgrade(url)
    with open_state(url) as database:
        return str(database.now())


def start_run(url: str) -> str:
    with open_state(url) as database:
        return Runs(database).start("shop", "f", {}, "d", external_key="dag/run").id


def send_mails(url: str) -> list[str]:
    with open_state(url) as database:
        outbox, mine = Outbox(database), []
        while mail := outbox.claim():
            mine.append(mail.key.event)
            outbox.sent(mail)
        return mine


def purge_claims(url: str, run: str, job: str) -> int:
    with open_state(url) as database:
        purge_all(SqlLedger(database, run, job))
    return 0


def record_in_audit(url: str, times: int) -> list[int]:
    """The numbers of what this process has recorded; every third change is taken back."""
    kept = []
    with open_state(url) as database:
        for n in range(times):
            with contextlib.suppress(KeyError):
                kept.append(_recorded(database, taken_back=n % 3 == 2))
    return kept


def _recorded(database: StateDatabase, *, taken_back: bool) -> int:
    with database.write() as connection:
        seq = audit.record(connection, actor=str(os.getpid()), action="x", object="y")
        if taken_back:
            raise KeyError(seq)
        return seq


def use_inherited(database: StateDatabase) -> str:
    """With the parent's open database, connections of its own."""
    for _ in range(20):
        database.now()
    return str(database.now())
