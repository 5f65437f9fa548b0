"""Workers over claimed batches: the loop that copy, check and purge share."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from dsp_airflow.engine.errors import Closed, Contended, DspError, Terminated, Transient
from dsp_airflow.engine.events import BatchDone, BatchStarted, tell
from dsp_airflow.engine.interrupt import Interrupter
from dsp_airflow.engine.model import Claim, Isolation, Plan
from dsp_airflow.engine.ports import Ledger, Opens, Pace, Phase, Watch
from dsp_airflow.engine.throttle import Throttle, load

S = TypeVar("S")
T = TypeVar("T")
S_co = TypeVar("S_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)
POLL = 1.0
"""Seconds between two looks at batches that other workers hold."""
ATTEMPTS = 3
"""At a batch that loses a lock to others, of each worker."""
PAUSE = 0.5
"""Seconds at most before the next attempt, so that two that met do not meet again."""
IDLE = 60.0
"""Seconds of waiting after which sessions are opened anew: servers and firewalls end idle ones."""


@dataclass(frozen=True, slots=True)
class Job(Generic[S_co, T_co]):
    """A planned job and everything its phases work with."""

    plan: Plan
    source: Opens[S_co]
    target: Opens[T_co]
    ledger: Ledger
    pace: Pace
    watch: Watch
    workers: int = 1
    isolation: Isolation = "repeatable_read"
    wait: bool = True
    """Wait for batches that other workers hold, so that a finished phase is really finished."""
    throttle: Throttle | None = None


Done = tuple[int, int]
"""Rows dealt with, and those among them that differ or were kept."""
Step: TypeAlias = Callable[[S, T, Claim], Done]


def run_phase(
    job: Job[S, T], phase: Phase, step: Step[S, T], only: Collection[int] | None = None
) -> None:
    """Claims and works batches until none waits for the phase.

    A batch that lost a lock to others is tried again a few times. A failed one is given back with
    its error; the other workers stop at their next batch edge and the first error is raised.
    """
    halt = threading.Event()
    with Interrupter(job.pace) as interrupter:
        if job.workers == 1:
            _worker(job, phase, step, only, halt, interrupter)
            return
        with ThreadPoolExecutor(job.workers, thread_name_prefix=f"dsp-{phase}") as pool:
            futures = [
                pool.submit(_worker, job, phase, step, only, halt, interrupter)
                for _ in range(job.workers)
            ]
    errors = [e for e in (f.exception() for f in futures) if e is not None]
    if errors:
        raise min(errors, key=_rank)


def _rank(error: BaseException) -> int:
    """Of several workers' errors the one that a person must know of is raised."""
    for rank, kind in ((3, Closed), (2, Transient), (1, Terminated)):
        if isinstance(error, kind):
            return rank
    return 0


def _worker(
    job: Job[S, T],
    phase: Phase,
    step: Step[S, T],
    only: Collection[int] | None,
    halt: threading.Event,
    interrupter: Interrupter,
) -> None:
    lost = Counter[int]()
    with ExitStack() as stack:
        sessions: tuple[S, T] | None = None
        while not halt.is_set():
            idle_since = time.monotonic()
            claim = _next(job, phase, only, halt)
            if claim is None or not _admitted(job, phase, claim, halt):
                return
            try:
                if time.monotonic() - idle_since > IDLE:
                    sessions = None
                    stack.close()
                if sessions is None:
                    sessions = (
                        stack.enter_context(job.source.session()),
                        stack.enter_context(job.target.session()),
                    )
                    interrupter.watch(*sessions)
                    stack.callback(interrupter.forget, *sessions)
                _work(job, phase, step, sessions, claim)
            except Contended as error:
                number = claim.batch.number
                lost[number] += 1
                if lost[number] >= ATTEMPTS:
                    halt.set()
                    _give_back(job, claim, error, _text(error))
                    raise Transient(f"batch {number}, tried {ATTEMPTS} times: {error}") from error
                # A stream that was left in the middle has closed its session.
                sessions = None
                stack.close()
                # Claimed anew, it comes with the intent of a purge that was about to commit.
                _give_back(job, claim, error, _text(error))
                pause(halt)
            except BaseException as error:
                halt.set()
                stop = stop_of(job) if isinstance(error, Transient) else None
                _give_back(job, claim, error, None if stop else _text(error))
                if stop is not None:
                    raise stop from error
                raise


def pause(halt: threading.Event | None = None) -> None:
    """Before the next attempt at what lost a lock."""
    (halt or threading.Event()).wait(random.uniform(0, PAUSE))  # noqa: S311 - no secret


def stop_of(job: Job[Any, Any]) -> Terminated | None:
    """What fails while the run is to stop, as a wait that was interrupted, is not what ends it."""
    try:
        job.pace.before_batch()
    except Terminated as stop:
        return stop
    except DspError:
        return None
    return None


def _next(
    job: Job[Any, Any], phase: Phase, only: Collection[int] | None, halt: threading.Event
) -> Claim | None:
    while not halt.is_set():
        job.pace.before_batch(halt)
        if halt.is_set():
            return None
        claim = job.ledger.claim(phase, only)
        if claim is not None:
            return claim
        if not job.wait or not job.ledger.waiting(phase, only):
            return None
        halt.wait(POLL)
    return None


def _admitted(job: Job[Any, Any], phase: Phase, claim: Claim, halt: threading.Event) -> bool:
    """Whether the batch may begin, after a wait; otherwise it is given back as it was.

    Its lease is kept meanwhile.
    """
    if job.throttle is None:
        return True
    try:
        admitted = job.throttle.admit(*load(job.plan, phase, claim), halt)
    except BaseException as error:
        halt.set()
        _give_back(job, claim, error, None)
        raise
    if not admitted:
        job.ledger.release(claim)
    return admitted


def _work(
    job: Job[S, T], phase: Phase, step: Step[S, T], sessions: tuple[S, T], claim: Claim
) -> None:
    batch, total = claim.batch, job.plan.batches
    tell(job.watch, BatchStarted(phase, job.plan.job, batch.number, total, batch.rows))
    began = time.monotonic()
    rows, exceptions = step(*sessions, claim)
    took = time.monotonic() - began
    tell(job.watch, BatchDone(phase, job.plan.job, batch.number, total, rows, took, exceptions))


def _give_back(job: Job[Any, Any], claim: Claim, error: BaseException, text: str | None) -> None:
    """Frees the lease. When even that fails, the lease runs out by itself.

    ``text`` is kept as the batch's error.
    """
    try:
        job.ledger.release(claim, text)
    except Transient as also:
        error.add_note(f"and the batch could not be given back: {also}")


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, DspError) else f"{type(error).__name__}: {error}"
