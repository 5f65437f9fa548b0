"""Uuids of version 7, which begin with the milliseconds since 1970 and so grow with time."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from dsp_airflow.engine.errors import ConfigError

VERSION: Final = 7
_MOST: Final = 2**48 - 1


def refuse_others(text: str, table: str, column: str) -> None:
    """``ConfigError`` for a largest value that is of another version: those come in any order."""
    found = UUID(text)
    if found.version != VERSION:
        raise ConfigError(
            f"{table}: {column} holds {text}, which is no uuid of version 7: others do not grow, "
            "so no run would know which are new; name another cursor"
        )


def earlier(text: str, overlap: timedelta) -> str:
    """The first uuid of the millisecond that lies so far before this one."""
    return _first(_moment(text) - overlap // timedelta(milliseconds=1))


def reached(text: str, since: str | None, now: int) -> str | None:
    """See ``Window``: ``None`` unless it is beyond ``now`` (milliseconds since 1970)."""
    if _moment(text) <= now:
        return None
    known = _first(now)
    return known if since is None else max(known, since)


def _moment(text: str) -> int:
    return UUID(text).int >> 80


def _first(moment: int) -> str:
    return str(UUID(int=(max(0, min(moment, _MOST)) << 80) | (VERSION << 76) | (2 << 62)))
