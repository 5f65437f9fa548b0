"""What a server warns of after it took rows: each is one that it bent or left out."""

from __future__ import annotations

from typing import Final

import MySQLdb

from dsp_airflow.engine.errors import BadValue, Refused
from dsp_airflow.engine.stores.mysql import translate
from dsp_airflow.engine.stores.mysql.query import Connection, texts

DUPLICATE: Final = 1062
_SHOWN: Final = 3


class Duplicate(Exception):
    """A row met another one of the same key, or came twice. The caller knows what that means."""


def refuse_warnings(connection: Connection, label: str) -> None:
    """Raises what the server warned of in its last statement, without the values."""
    found = [
        MySQLdb.DataError(int(code or 0), text)
        for _, code, text in texts(connection, "SHOW WARNINGS")
    ]
    others = [warning for warning in found if translate.number(warning) != DUPLICATE]
    if found and not others:
        raise Duplicate(translate.message(found[0]))
    told = "; ".join(dict.fromkeys(translate.message(w) for w in others[:_SHOWN]))
    if others:
        known = translate.translated(others[0], label)
        unplaced = translate.number(others[0]) in translate.UNPLACED
        if unplaced or (isinstance(known, Refused) and not isinstance(known, BadValue)):
            raise known
    raise BadValue(
        f"{label}: {told or 'the server changed or skipped rows'}; nothing of the batch was "
        "written. Widen the target column, map the column to a type that holds the value, or say "
        "on_loss"
    )
