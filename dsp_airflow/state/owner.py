"""Who holds a lease, and whether that process is surely gone.

An owner is ``host:boot:namespace:pid:start:suffix``. Only where host, boot and process
namespace are this process's own can the process be looked for; any other owner is given
up only when its lease expires.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_suffixes = itertools.count(1)


@dataclass(frozen=True, slots=True)
class _Owner:
    host: str
    boot: str
    namespace: str
    pid: int
    start: str

    @property
    def place(self) -> tuple[str, str, str]:
        return (self.host, self.boot, self.namespace)


def owner_name(suffix: str | None = None) -> str:
    """Names the present process; ``suffix`` tells its threads apart (default: a new one)."""
    host, boot, namespace = _here()
    pid = os.getpid()
    last = str(next(_suffixes)) if suffix is None else suffix.replace(":", "_")
    return ":".join((host, boot, namespace, str(pid), _start(pid), last))


def holder(owner: str) -> str:
    """The owner in words, for messages."""
    parsed = _parse(owner)
    return f"process {parsed.pid} on {parsed.host}" if parsed else owner


def surely_dead(owner: str) -> bool:
    """Whether the owner was a process of this very machine that no longer runs."""
    parsed = _parse(owner)
    if parsed is None or parsed.place != _here() or not (parsed.boot and parsed.start):
        return False
    try:
        os.kill(parsed.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it exists but is somebody else's
    state, start = _stat(parsed.pid)
    return bool(start) and (start != parsed.start or state in {"Z", "X"})


def dead_among(owners: Collection[str]) -> list[str]:
    """Those owners that are surely dead."""
    return [owner for owner in owners if surely_dead(owner)]


def _parse(owner: str) -> _Owner | None:
    parts = owner.rsplit(":", 5)
    if len(parts) != 6 or not parts[3].isdecimal():
        return None
    return _Owner(parts[0], parts[1], parts[2], int(parts[3]), parts[4])


@cache
def _here() -> tuple[str, str, str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # Containers share the boot and may share the host's name, but not its process ids.
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return (socket.gethostname(), "", "")
    return (socket.gethostname(), boot, namespace)


def _start(pid: int) -> str:
    return _stat(pid)[1]


def _stat(pid: int) -> tuple[str, str]:
    """State letter and start time (in clock ticks since boot); empty where they are hidden."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ("", "")
    fields = text[text.rindex(")") + 2 :].split()
    return (fields[0], fields[19])
