"""How a session presents itself to its server, and how long it waits there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

NAME_BYTES = 63
"""As much of a session's name as every supported server shows."""
LOCK_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """``name`` is what the server's list of sessions shows.

    ``lock`` and ``statement`` end a wait for a lock, and a statement, that takes longer;
    ``None`` lets it take as long as it does. ``files``: tables are buckets of files (GridFS).
    """

    name: str = "dsp"
    lock: timedelta = LOCK_TIMEOUT
    statement: timedelta | None = None
    files: bool = False


def session_name(task: str, job: str, step: str) -> str:
    """``dsp:<task>:<job>:<step>``, the longer names cut so that the step is always told."""
    room = NAME_BYTES - len(f"dsp:::{step}".encode())
    half = room // 2
    ours = _cut(job, max(half, room - len(task.encode())))
    return f"dsp:{_cut(task, room - len(ours.encode()))}:{ours}:{step}"


def _cut(text: str, size: int) -> str:
    """At most so many bytes of it, whole characters only."""
    return text.encode()[:size].decode(errors="ignore")
