"""Small questions to the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import psycopg

from dsp_airflow.engine.errors import Transient

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


def one(
    connection: Connection,
    statement: str,
    values: Sequence[Any] | Mapping[str, Any] | None = None,
) -> tuple[Any, ...]:
    """The single row of a statement that always has one."""
    row = connection.execute(statement.encode(), values).fetchone()
    if row is None:
        raise Transient(f"the server gave no answer to: {' '.join(statement.split())[:200]}")
    return row
