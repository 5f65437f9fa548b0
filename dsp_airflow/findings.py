"""What looking at a connection finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
