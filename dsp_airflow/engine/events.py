"""What an onlooker is told. Plain values; formatting is the onlooker's."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from dsp_airflow.engine.ports import Phase, Watch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A job's phase begins; ``rows`` and ``batches`` are the whole job's."""

    phase: Phase
    job: str
    table: str
    rows: int
    batches: int


@dataclass(frozen=True, slots=True)
class BatchStarted:
    """A worker took up a batch."""

    phase: Phase
    job: str
    number: int
    batches: int
    rows: int


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A batch is recorded. ``rows`` were dealt with, ``kept`` or different ones among them."""

    phase: Phase
    job: str
    number: int
    batches: int
    rows: int
    seconds: float
    exceptions: int = 0


@dataclass(frozen=True, slots=True)
class JobDone:
    """A phase ended well, for the whole job as the ledger has it."""

    phase: Phase
    job: str
    total: int
    success: int
    failed: int


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth a line: what was done beside the batches, or could not be."""

    text: str


class Quiet:
    """Nobody looks."""

    def on(self, event: object) -> None:
        """Does nothing."""


def tell(watch: Watch, event: object) -> None:
    """Tells the onlooker; whatever fails there stays there, in the log."""
    try:
        watch.on(event)
    except Exception:
        log.exception("the progress display failed; the work goes on")
