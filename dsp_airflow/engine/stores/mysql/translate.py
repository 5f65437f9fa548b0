"""Driver errors become the engine's, once, here.

The server's numbers decide. Messages keep the names of tables, keys and columns, and the numbers
of rows; values are masked: they are nobody's to read in a log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeAlias

import MySQLdb

from dsp_airflow.config.scalars import format_duration
from dsp_airflow.engine.errors import (
    BadValue,
    ConfigError,
    Contended,
    Denied,
    DspError,
    Refused,
    Transient,
)
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mysql.casting import LOSS_TAG, UNREAD_TAG

DUPLICATES: Final = frozenset({1062, 1169, 1586, 1761, 1762})
LOCKED: Final = frozenset({1205, 3572})
UNPLACED: Final = frozenset({1526, 1748})
"""No partition takes the row."""
UNDONE: Final = frozenset({1020, 1213, 1614, 3058, 3101})
"""Deadlocks, and what a cluster or MariaDB's snapshot isolation says of rows others changed."""
DROPPED: Final = frozenset({1046, 1049, 1051, 1054, 1091, 1109, 1146, 1176, 1305, 1932})
GONE: Final = frozenset({0, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 2006, 2012, 2013, 2014, 2055})
"""The connection is no longer there, or no longer to be used."""

_Made: TypeAlias = "Callable[[str, str, SessionOptions], DspError]"

_MASKS: Final = (
    (re.compile(r"Duplicate entry '(?s:.*)' for key"), "Duplicate entry for key"),
    (re.compile(r", record '(?s:.*)' would"), ", a record would"),
    (re.compile(r"value: '(?s:.*)' for (column|function)"), r"value for \1"),
    (re.compile(r": (?:'(?s:.*)'|\"(?s:.*)\")(?=$| for | at | in )"), ""),
    (re.compile(r"(string|double) '(?s:.*)' (from|value)"), r"\1 \2"),
    (re.compile(r"out of range in '(?s:.*)'"), "out of range"),
    (re.compile(r"no partition for value (?s:.*)"), "no partition for a value"),
    (re.compile(r"(itude) [-+.\de]+ "), r"\1 "),
    # The text of a statement, up to its first literal.
    (re.compile(r"near '([^'\"\n]{0,60})(?s:.*)' at line"), r"near \1 at line"),
)


_LOST: Final = re.compile(rf"{LOSS_TAG}(.*?)',")
_UNREAD: Final = re.compile(rf"{UNREAD_TAG}(.*?)',")
"""What a guarded conversion says of its column."""


def number(error: MySQLdb.Error) -> int:
    """The server's or the client library's number; -1 where the driver itself complains."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else -1


def message(error: MySQLdb.Error) -> str:
    """What it says, in one line, without values."""
    last = error.args[-1] if error.args else ""
    text = last.decode(errors="replace") if isinstance(last, bytes) else str(last)
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return " ".join(text.split()) or f"error {number(error)} without a message"


def _saying(kind: type[DspError], remedy: str = "") -> _Made:
    def made(where: str, text: str, options: SessionOptions) -> DspError:  # noqa: ARG001
        return kind(f"{where}: {text}" + (f"; {remedy}" if remedy else ""))

    return made


def _duplicate(where: str, text: str, options: SessionOptions) -> DspError:  # noqa: ARG001
    return BadValue(
        f"{where}: {text}. Another row already holds this value; nothing of the batch was written"
    )


def _null(where: str, text: str, options: SessionOptions) -> DspError:  # noqa: ARG001
    return BadValue(
        f"{where}: {text}: the column does not accept NULL, and a row has none to give; map a "
        "constant or an expression with coalesce, or allow NULL in the target"
    )


def _locked(where: str, text: str, options: SessionOptions) -> DspError:
    limit = f"a lock was not to be had within {format_duration(options.lock)} (timeouts.lock)"
    return Contended(
        f"{where}: {text}: {limit}. Retry when who holds it is through, or raise timeouts.lock of "
        "the job"
    )


def _interrupted(where: str, text: str, options: SessionOptions) -> DspError:
    if options.statement is None:
        return Transient(f"{where}: {text}; somebody on the server ended it, retry")
    return Transient(
        f"{where}: {text}: a statement may take {format_duration(options.statement)} "
        "(timeouts.statement). Retry when the server is less busy, make batches smaller "
        "(batch_size), or raise timeouts.statement of the job"
    )


def _denied(where: str, text: str, options: SessionOptions) -> DspError:  # noqa: ARG001
    if "locking clause" in text:
        grant = "GRANT DELETE, as for a purge"
    elif found := re.match(
        r"([A-Z, ]+) command denied to user .* for (?:table|routine) (\S+)", text
    ):
        grant = f"GRANT {found[1]} ON {found[2]}"
    elif found := re.search(r" to database '(.*)'", text):
        grant = f"GRANT ... ON `{found[1]}`.*; for staging CREATE TEMPORARY TABLES"
    else:
        grant = "GRANT ..."
    return Denied(f"{where}: {text}; ask the owner for the privilege ({grant})")


def _engine(where: str, text: str, options: SessionOptions) -> DspError:
    """What a storage engine or the file system reports, with a number of its own."""
    if re.search(r"\b(?:error |Errcode: |errno: )(?:28|122|135|136)\b", text):
        return _full(where, text, options)
    return Transient(f"{where}: {text}")


def _read_only(where: str, text: str, options: SessionOptions) -> DspError:  # noqa: ARG001
    if "LOCAL" in text.upper() and "INFILE" in text.upper():
        return Refused(f"{where}: {text}; {_INFILE}")
    if re.search(r"read[-_ ]only", text, re.IGNORECASE):
        return Refused(f"{where}: {text}; the server is read-only: name the primary for writing")
    return Refused(f"{where}: {text}")


_INFILE: Final = "allow it on the server: SET GLOBAL local_infile = 1"
_full = _saying(Transient, "make room on the server, then retry")

_TABLE: Final[tuple[tuple[frozenset[int], _Made], ...]] = (
    (DUPLICATES, _duplicate),
    (frozenset({1048, 1263, 1364}), _null),
    (
        frozenset({1264, 1265, 1292, 1300, 1365, 1366, 1367, 1406, 1411, 1416, 1441, 1525, 1690})
        | {1977, 3140, 3141, 3156, 3157, 3158, 3616, 3617, 3643, 3751, 3854, 3903, 4037, 4038},
        _saying(BadValue),
    ),
    (frozenset({3819, 4025}), _saying(BadValue, "nothing of the batch was written")),
    (
        UNPLACED,
        _saying(
            BadValue,
            "create a partition for it, or leave such rows out with where; nothing of the batch "
            "was written",
        ),
    ),
    (
        frozenset({1217, 1451}),
        _saying(Refused, "purge the rows that refer to these first"),
    ),
    (
        frozenset({1216, 1452}),
        _saying(Refused, "copy the rows that these refer to first"),
    ),
    (
        frozenset({1644}),
        _saying(Refused, "a trigger or routine of the server said so; nothing was changed"),
    ),
    (DROPPED, _saying(ConfigError, "it was dropped or renamed, or never existed")),
    (LOCKED, _locked),
    (UNDONE, _saying(Contended, "the server undid the transaction, retry")),
    (frozenset({1206, 1637}), _saying(Transient, "make batches smaller (batch_size), or retry")),
    (frozenset({1317, 1969, 3024}), _interrupted),
    (GONE | {2002, 2003, 2005}, _saying(Transient, "the connection was lost, retry")),
    (frozenset({1927, 3169, 4031}), _saying(Transient, "the server ended the session, retry")),
    (frozenset({1040, 1203, 1226}), _saying(Transient, "too many sessions at once, retry later")),
    (frozenset({1021, 1037, 1038, 1041, 1114, 1135, 2008, 3675}), _full),
    (frozenset({3, 1005, 1023, 1026, 1030}), _engine),
    (frozenset({1044, 1142, 1143, 1227, 1370}), _denied),
    (
        frozenset({1045, 1251, 1698, 1820, 1862, 3118, 3955, 4151}),
        _saying(Denied, "correct login and password of the Airflow connection"),
    ),
    (frozenset({1129, 1130}), _saying(Denied, "allow this client on the server")),
    (frozenset({1148, 2000, 2068, 3948, 4166}), _saying(Refused, _INFILE)),
    (
        frozenset({1153, 1301, 2020}),
        _saying(Refused, "raise max_allowed_packet on the server above the largest row"),
    ),
    (frozenset({1036, 1290, 1792, 1836}), _read_only),
    (
        frozenset({1665}),
        _saying(Refused, "set binlog_format to ROW or MIXED on the server"),
    ),
    (
        frozenset({3750}),
        _saying(Refused, "give the table a primary key, or set sql_require_primary_key = 0"),
    ),
    (
        frozenset({1071, 1118}),
        _saying(
            Refused,
            "map columns to shorter types (type: string(100)), or create the table yourself",
        ),
    ),
    (
        frozenset({1031, 1178, 1235, 1286, 1289, 1496, 1785, 1787, 3098}),
        _saying(Refused, "this server cannot do that"),
    ),
    (
        frozenset(
            {1052, 1055, 1056, 1060, 1064, 1065, 1066, 1068, 1072, 1074, 1101, 1111, 1115, 1149}
        )
        | {1193, 1222, 1231, 1232, 1238, 1267, 1270, 1271, 1273, 1425, 1426, 1582, 4078, 4079}
        | {1906, 3105, 4161},
        _saying(ConfigError),
    ),
)
_BY_NUMBER: Final[Mapping[int, _Made]] = {
    known: made for numbers, made in _TABLE for known in numbers
}
_UNKNOWN: Final = _saying(Transient)


def translated(error: MySQLdb.Error, where: str, options: SessionOptions | None = None) -> DspError:
    """The engine's error for a driver error. ``where`` names connection and object."""
    if lost := _LOST.search(str(error.args[-1])):
        return BadValue(
            f"{where}: column {lost[1]}: a value does not fit the target type; widen the target "
            "column, map the column to a type that holds the value, or say on_loss"
        )
    if unread := _UNREAD.search(str(error.args[-1])):
        return BadValue(
            f"{where}: column {unread[1]}: a text has octets that are no character of the column's "
            "character set, and would come as question marks; correct it, make the column binary, "
            "or map an expression"
        )
    made = _BY_NUMBER.get(number(error), _UNKNOWN)
    return made(where, message(error), options or SessionOptions())


def unreachable(error: MySQLdb.Error, where: str) -> DspError:
    """The engine's error for a connection that could not be opened."""
    known, text = number(error), message(error)
    if known == 1049:
        return ConfigError(f"{where}: {text}; correct the schema of the Airflow connection")
    if known == 3159:
        return ConfigError(f"{where}: {text}; set ssl_mode to REQUIRED in the extra field")
    if known == 2026 and not re.search(r"reset|closed|timed out|EOF|lost", text, re.IGNORECASE):
        return ConfigError(f"{where}: {text}; correct ssl and ssl_mode in the extra field")
    if known in {-1, 1524, 2049, 2058, 2059, 2061}:
        return ConfigError(
            f"{where}: {text}; the login, or the extra field of the Airflow connection, asks for "
            "what the driver does not have"
        )
    found = translated(error, where)
    if not isinstance(found, Transient) or known in {1040, 1203, 1226}:
        return found
    return Transient(
        f"{where}: cannot connect: {text}; check host, port and network, and that it is running"
    )


@contextmanager
def translating(where: str, options: SessionOptions | None = None) -> Iterator[None]:
    """Translates every driver error raised inside."""
    try:
        yield
    except MySQLdb.Error as error:
        raise translated(error, where, options) from error
