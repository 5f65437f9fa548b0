"""The secrets of connections, known only to be left out of what is told.

Messages of this package hold none. What a driver or a server says of a failing login is not ours,
so it is looked through as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from airflow.models.connection import Connection

HIDDEN = "***"
_SECRET_KEY = re.compile(r"pass|secret|token|key|credential|auth|uri|private|cert", re.IGNORECASE)
_WORD = 4
"""Characters from which on a secret is looked for inside of words, too."""


def kind_of(connection: str) -> str | None:
    """Its type; ``None`` where there is no such connection, or it cannot be read."""
    found = _found(connection)
    return None if found is None else str(found.conn_type or "") or None


def secrets_of(connections: Iterable[str]) -> list[str]:
    """Passwords, and what the extra fields hold under names that say so; the longest first."""
    found: set[str] = set()
    for name in connections:
        connection = _found(name)
        if connection is not None:
            found |= {connection.password or "", *_in_extra(connection.extra_dejson, secret=False)}
    spelled = {form for one in found for form in (one, quote(one, safe=""), quote_plus(one))}
    return sorted(filter(None, spelled), key=len, reverse=True)


def without(secrets: Iterable[str], value: Any) -> Any:
    """A text, or all texts of a document, with something else where a secret stood."""
    known = tuple(secrets)
    if isinstance(value, dict):
        return {key: without(known, one) for key, one in value.items()}
    if isinstance(value, list):
        return [without(known, one) for one in value]
    return _hidden(known, value) if isinstance(value, str) else value


def _hidden(secrets: Iterable[str], text: str) -> str:
    for one in secrets:
        if len(one) >= _WORD:
            text = text.replace(one, HIDDEN)
        else:
            text = re.sub(rf"(?<!\w){re.escape(one)}(?!\w)", HIDDEN, text)
    return text


def _found(name: str) -> Connection | None:
    try:
        return Connection.get_connection_from_secrets(name)
    except Exception:  # noqa: BLE001 - there is none, or whatever a secrets backend raises
        return None


def _in_extra(value: Any, *, secret: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _in_extra(one, secret=secret or bool(_SECRET_KEY.search(str(key))))
    elif isinstance(value, list):
        for one in value:
            yield from _in_extra(one, secret=secret)
    elif secret and isinstance(value, str):
        yield value
