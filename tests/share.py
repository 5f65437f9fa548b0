"""How much a soak test does: all of it on demand, a fixed small share in every run."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Collection


def full() -> bool:
    """Whether this run was asked to do everything (`make soak`)."""
    return os.environ.get("DSP_SOAK") == "full"


def share(full_size: int, small_size: int) -> int:
    """Return `full_size` under DSP_SOAK=full, else `small_size`."""
    return full_size if full() else small_size


def by_turns(names: Collection[str]) -> set[str]:
    """Of tests by their ids, those that leave their turn to the same test on another server.

    Of what is tried on PostgreSQL 15 and 18 alike each test has one of them, as of both S3 servers,
    and of buckets with and without versions; of what is tried on MariaDB every other one has MySQL,
    too. Which, its name decides. A test between two versions has no turns.
    """
    known = set(names)
    left: set[str] = set()
    for name in known:
        test, bracket, params = name.partition("[")
        odd = zlib.crc32(name.encode()) % 2 == 1
        for one, two in _PAIRS:
            other = f"{test}{bracket}{one.sub(two, params)}"
            if one.search(params) and not re.search(rf"\b{two}\b", params) and other in known:
                left.add(name if odd else other)
        other = f"{test}{bracket}{_MYSQL.sub('mariadb', params)}"
        if odd and other != name and other in known:
            left.add(name)
    return left


_PAIRS = (
    (re.compile(r"\bpg15\b"), "pg18"),
    (re.compile(r"\bmoto\b"), "rclone"),
    (re.compile(r"\bunversioned\b"), "versioned"),
)
_MYSQL = re.compile(r"\bmysql\b(?! text)")
