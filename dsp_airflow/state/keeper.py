"""Keeps leases alive while their holder works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from dsp_airflow.engine.errors import DspError
from dsp_airflow.state.ledger import SqlLedger

log = logging.getLogger(__name__)


class Renewal:
    """Calls ``renew`` at an interval on a thread of its own, from entry to exit.

    A failure is logged and tried again at the next turn: whether the lease was lost is
    decided by the next record of its holder, never here.
    """

    def __init__(self, renew: Callable[[], object], every: timedelta, name: str) -> None:
        self._renew = renew
        self._every = every.total_seconds()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self._renew()
            except DspError as error:
                log.warning("Leases could not be renewed: %s", error)
            except Exception:
                log.exception("Leases could not be renewed")


class Keeper(Renewal):
    """Renews all leases that a ledger holds, and says that its job is worked on, every third of
    their duration.
    """

    def __init__(self, ledger: SqlLedger) -> None:
        super().__init__(lambda: self._keep(ledger), ledger.ttl / 3, f"keeper of {ledger.job}")
        self._ledger = ledger

    def __enter__(self) -> Self:
        self._ledger.seen()
        return super().__enter__()

    @staticmethod
    def _keep(ledger: SqlLedger) -> None:
        ledger.seen()
        for number in ledger.keep_all():
            log.warning("Batch %d of job %s was taken over", number, ledger.job)
