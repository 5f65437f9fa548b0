"""Sequences of a target, moved past the values that were copied into their columns.

AUTO_INCREMENT moves by itself with every value that is given. MariaDB's sequences do not.
"""

from __future__ import annotations

import re
from typing import Final

import MySQLdb

from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.mysql import translate
from dsp_airflow.engine.stores.mysql.login import is_mariadb
from dsp_airflow.engine.stores.mysql.names import quote, split_name, text_literal
from dsp_airflow.engine.stores.mysql.query import Connection, one, texts

_DRAWN: Final = re.compile(r"nextval\(((?:`(?:[^`]|``)+`\.)?`(?:[^`]|``)+`)\)", re.IGNORECASE)
_DENIED: Final = frozenset({1142, 1143, 1370})


def move(connection: Connection, what: Projection, *, dry: bool = False) -> list[str]:
    """See ``ports.Writes``. A sequence that is asked to go backwards stays where it is."""
    told = []
    for column, sequence in _filling(connection, what):
        where = f"sequence {sequence} of column {column} of {what.label}"
        try:
            (step, cycles) = one(connection, f"SELECT increment, cycle_option FROM {sequence}")
            if cycles != "0":
                told.append(f"{where} runs in a circle and stays where it is")
            elif not dry:
                furthest = "MIN" if str(step).startswith("-") else "MAX"
                (reached,) = one(
                    connection, f"SELECT {furthest}({quote(column)}) FROM {what.table}"
                )
                number = None if reached is None else int(reached.partition(".")[0])
                if number is not None and _moved(connection, sequence, number):
                    told.append(f"{where} moved to {number}")
        except MySQLdb.Error as error:
            if translate.number(error) not in _DENIED:
                raise
            told.append(
                f"{where} stays where it is, and new rows may meet copied ones: "
                f"GRANT SELECT, INSERT ON {sequence} TO <user>"
            )
    return told


def _moved(connection: Connection, sequence: str, number: int) -> bool:
    state = f"SELECT next_not_cached_value FROM {sequence}"
    before = one(connection, state)
    one(connection, f"SELECT SETVAL({sequence}, {number})")
    return before != one(connection, state)


def _filling(connection: Connection, what: Projection) -> list[tuple[str, str]]:
    """Mapped columns whose default draws from a sequence, and the sequence's quoted name."""
    if not is_mariadb(connection):
        return []
    schema, name = split_name(what.table)
    known = "DATABASE()" if schema is None else text_literal(schema)
    mapped = {field.column for field in what.fields}
    found = texts(
        connection,
        "SELECT COLUMN_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = "
        f"{known} AND TABLE_NAME = {text_literal(name)} AND COLUMN_DEFAULT LIKE '%nextval(%'",
    )
    return [
        (str(column), sequence)
        for column, default in found
        if column in mapped
        for sequence in _DRAWN.findall(str(default))
    ]
