"""CPU seconds of a server: what its processes used, those that have ended included."""

from __future__ import annotations

import psutil


def seconds(postmaster: int) -> float:
    """Since its start. Sessions that ended are in the postmaster's own account of children."""
    parent = psutil.Process(postmaster)
    total = sum(parent.cpu_times()[:4])
    for child in parent.children():
        try:
            total += sum(child.cpu_times()[:2])
        except psutil.NoSuchProcess:
            # It ended in between: now it is in the parent's account, read before. Once more.
            return seconds(postmaster)
    return total
