"""Statements without effect that a server denies, or not, as it would those that we mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import MySQLdb

from dsp_airflow.engine.stores.mysql import translate
from dsp_airflow.engine.stores.mysql.query import Connection, rows

DENIED: Final = frozenset({1044, 1142, 1143, 1227, 1345, 1370})


def refused(connection: Connection, statement: str) -> bool:
    """Whether the server denies a statement to this login."""
    try:
        rows(connection, statement)
    except MySQLdb.Error as error:
        if translate.number(error) not in DENIED:
            raise
        return True
    return False


def missing(connection: Connection, table: str, wanted: Mapping[str, str]) -> list[str]:
    """Those privileges on a table whose statement is denied.

    ``table`` is quoted SQL, which ``{table}`` in the statements stands for.
    """
    return [
        privilege
        for privilege, statement in wanted.items()
        if refused(connection, statement.replace("{table}", table))
    ]
