"""What a login may do, where only trying would tell otherwise."""

from __future__ import annotations

import re
from typing import Final

import MySQLdb

from dsp_airflow.engine.stores.mysql import translate
from dsp_airflow.engine.stores.mysql.names import quote
from dsp_airflow.engine.stores.mysql.query import Connection, one, rows, texts

DENIED: Final = frozenset({1044, 1142, 1143, 1227, 1345, 1370})
_GRANT: Final = re.compile(r"GRANT (.+?) ON (?:TABLE )?(\S.*?) TO ")
_REVOKE: Final = re.compile(r"REVOKE (.+?) ON (\S.*?) FROM ")


def refused(connection: Connection, statement: str) -> bool:
    """Whether the server denies a statement to this login. It must be one without effect."""
    try:
        rows(connection, statement)
    except MySQLdb.Error as error:
        if translate.number(error) not in DENIED:
            raise
        return True
    return False


def missing(connection: Connection, table: str, wanted: dict[str, str]) -> list[str]:
    """Those privileges on a table whose statement is denied. Each is explained, none is run.

    ``table`` is quoted SQL, which ``{table}`` in the statements stands for.
    """
    return [
        privilege
        for privilege, statement in wanted.items()
        if refused(connection, statement.format(table=table))
    ]


def has(connection: Connection, privilege: str, schema: str, name: str) -> bool:
    """Whether this login, or a role that is active, has a privilege on all of a table.

    For what no harmless statement tries. An unclear answer is no.
    """
    found = False
    for (line,) in _lines(connection):
        text = str(line)
        if (given := _GRANT.match(text)) and _names(given[1], privilege):
            found |= _covers(given[2], schema, name)
        taken = _REVOKE.match(text)
        # A part of a global privilege that was revoked again.
        if taken and _names(taken[1], privilege) and _covers(taken[2], schema, name):
            return False
    return found


def everywhere(connection: Connection, privilege: str) -> bool:
    """Whether this login has a privilege on all tables there are."""
    lines = [str(line) for (line,) in _lines(connection)]
    revoked = any((m := _REVOKE.match(line)) and _names(m[1], privilege) for line in lines)
    return not revoked and any(
        (m := _GRANT.match(line)) and m[2] == "*.*" and _names(m[1], privilege) for line in lines
    )


def _lines(connection: Connection) -> list[tuple[str | None, ...]]:
    role = one(connection, "SELECT CURRENT_ROLE()")[0]
    lines = texts(connection, "SHOW GRANTS")
    # MariaDB names a role as it is, and shows what it may do without being asked.
    if role not in (None, "NONE") and str(role).startswith("`"):
        lines += texts(connection, f"SHOW GRANTS FOR CURRENT_USER() USING {role}")
    return lines


def _names(privileges: str, wanted: str) -> bool:
    # A privilege with columns in parentheses is not one on the whole table.
    return privileges in ("ALL", "ALL PRIVILEGES") or wanted in privileges.split(", ")


def _covers(where: str, schema: str, name: str) -> bool:
    """Whether ``*.*``, ```schema`.*`` (a pattern) or a table's name means this table."""
    if where in ("*.*", f"{quote(schema)}.{quote(name)}"):
        return True
    if not where.endswith(".*"):
        return False
    pattern = where.removesuffix(".*").strip("`").replace("``", "`")
    return re.fullmatch(_pattern(pattern), schema) is not None


def _pattern(text: str) -> str:
    """``LIKE`` as a regular expression."""
    parts = re.findall(r"\\.|.", text, re.DOTALL)
    meaning = {"%": ".*", "_": "."}
    return "".join(meaning.get(p) or re.escape(p[-1]) for p in parts)
