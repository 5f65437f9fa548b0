"""How loaded servers are, and whether a batch may begin.

A server is asked by a session of its own. What it does not tell counts as too much: a plan refuses
it, and a job that runs waits, as it does for what is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dsp_airflow.engine.errors import DspError, Refused
from dsp_airflow.engine.ports import Store, TellsLoad


@dataclass(frozen=True, slots=True)
class Limit:
    """What one server may be loaded with; ``None`` is not asked."""

    store: Store
    lag: timedelta | None = None
    threads: int | None = None
    replica: bool = False
    """It was named as a replica, and so has to be one."""


def above(limit: Limit, session: object) -> str:
    """What is above the limit, or not known, in words; empty when a batch may begin."""
    name = f"connection {limit.store.name}"
    if not isinstance(session, TellsLoad):
        return f"{name}: how loaded a server of {limit.store.system} is cannot be asked"
    if limit.lag is not None:
        lags = session.lags()
        if limit.replica and not lags:
            return f"{name} is no replica of any server"
        for lag in lags:
            if lag.seconds is None:
                return f"{name}: how far {lag.of} is behind is not known: {lag.why}"
            if lag.seconds > limit.lag.total_seconds():
                return (
                    f"{name}: {lag.of} is {lag.seconds:,} s behind, and limits.replica_lag is "
                    f"{limit.lag.total_seconds():,.0f} s"
                )
    if limit.threads is not None and (running := session.threads_running()) > limit.threads:
        return f"{name}: {running} threads run, and limits.threads_running is {limit.threads}"
    return ""


def refuse_unknown(job: str, limits: Sequence[Limit]) -> None:
    """``Refused`` for a limit that nobody could tell to be kept; one that is not kept is fine."""
    shown = 0
    for limit in limits:
        with limit.store.session() as session:
            if not isinstance(session, TellsLoad):
                raise Refused(f"job {job}: limits: {above(limit, session)}")
            lags = session.lags() if limit.lag is not None else []
            if (limit.replica and not lags) or any(lag.seconds is None for lag in lags):
                raise Refused(f"job {job}: limits.replica_lag: {above(limit, session)}")
            shown += len(lags)
            if limit.threads is not None:
                session.threads_running()
    if not shown and any(limit.lag is not None for limit in limits):
        names = " and ".join(limit.store.name for limit in limits)
        raise Refused(
            f"job {job}: limits.replica_lag: {names} replicates from no server, and how far its "
            "replicas are behind only they know; name them: {max: 10s, connections: [<replica>]}"
        )


class Gauge:
    """Asks about one limit, in a session that is kept; see ``pace.Brake``."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._stack = ExitStack()
        self._session: Any = None

    def __call__(self) -> str:
        """See ``above``; who does not answer is asked again, in another session."""
        try:
            if self._session is None:
                self._session = self._stack.enter_context(self._limit.store.session())
            return above(self._limit, self._session)
        except DspError as error:
            self.close()
            return f"connection {self._limit.store.name} does not say how loaded it is: {error}"

    def close(self) -> None:
        """Ends the session; the next question opens another one."""
        self._session = None
        self._stack.close()
