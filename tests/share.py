"""How much a soak test does: all of it on demand, a fixed small share in every run."""

from __future__ import annotations

import os


def full() -> bool:
    """Whether this run was asked to do everything (`make soak`)."""
    return os.environ.get("DSP_SOAK") == "full"


def share(full_size: int, small_size: int) -> int:
    """Return `full_size` under DSP_SOAK=full, else `small_size`."""
    return full_size if full() else small_size
