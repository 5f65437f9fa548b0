"""How a demonstration fails: what did not work, and the end of the log that says why."""

from __future__ import annotations

from pathlib import Path

TAIL_LINES = 30


class DemoError(RuntimeError):
    """A step of the demonstration failed. `detail` is the end of the log that belongs to it."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log file; words in their place when there is none."""
    if not log.is_file():
        return f"(no log {log.name})"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
