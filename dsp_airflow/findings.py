"""What looking at a connection finds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from dsp_airflow.engine.errors import Denied, DspError, Transient
from dsp_airflow.engine.options import SessionOptions

CHECK: Final = SessionOptions("dsp:check-connection")
"""How a look at a connection presents itself to the server."""
CLOCK_TOLERANCE: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    ``remedy`` says what to do; it is empty where all is well.
    """

    subject: str
    state: Literal["ok", "warning", "failed"]
    text: str
    remedy: str = ""

    @property
    def failed(self) -> bool:
        """Whether jobs on this connection cannot work so."""
        return self.state == "failed"

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}" + (f"; {self.remedy}" if self.remedy else "")


def unreachable(error: DspError) -> Finding:
    """Why a session with a database could not be opened."""
    subject = "login" if isinstance(error, Denied) else "reachable"
    text, _, remedy = str(error).rpartition("; ")
    hint = " (a later try may succeed)" if isinstance(error, Transient) else ""
    return Finding(subject, "failed", (text or remedy) + hint, remedy if text else "")


def clock(off: timedelta) -> Finding:
    """How far a database's clock is from this machine's."""
    if off > CLOCK_TOLERANCE:
        return Finding(
            "clock",
            "warning",
            f"{off.total_seconds():.0f} s apart from this machine's",
            "synchronise both clocks; times relative to now use the state database's",
        )
    return Finding("clock", "ok", f"{off.total_seconds():.1f} s apart")


def may(subject: str, allowed: bool, why: str, grant: str) -> Finding:
    """Whether a login may do what a target calls for."""
    if allowed:
        return Finding(subject, "ok", "allowed")
    return Finding(subject, "warning", f"not allowed; {why}", f"if this is a target: {grant}")
