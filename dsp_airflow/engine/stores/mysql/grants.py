"""What the login of a session may do: as the server tells it, and as it shows when asked to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import MySQLdb

from dsp_airflow.engine.stores.mysql import translate
from dsp_airflow.engine.stores.mysql.query import Connection, one, rows, texts

DENIED: Final = frozenset({1044, 1142, 1143, 1227, 1345, 1370})
NEEDED: Final = (
    *("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "CREATE TEMPORARY TABLES"),
    # A server shows triggers, and keys of other tables that lead to one, only to whoever may.
    *("TRIGGER", "PROCESS"),
)
_ALL: Final = "ALL PRIVILEGES"
_NAME: Final = r"(`(?:[^`]|``)*`|\*)"
_LINE: Final = re.compile(rf"(GRANT|REVOKE) (.+?) ON (?:TABLE )?{_NAME}\.{_NAME} (?:TO|FROM) ")
_PRIVILEGE: Final = re.compile(r"([A-Z_]+(?: [A-Z_]+)*)(?: \([^)]*\))?(?:, ?|$)")


@dataclass(frozen=True, slots=True)
class Grants:
    """Privileges everywhere, on all tables of the schema, and by name of one of its tables.

    Those of active roles are among them. A privilege on a column counts as one on its table.
    """

    everywhere: frozenset[str] = frozenset()
    schema: frozenset[str] = frozenset()
    tables: dict[str, frozenset[str]] = field(default_factory=dict)

    def sees_triggers(self, table: str) -> bool:
        """Whether the server shows the table's triggers; MySQL hides them from others."""
        return "TRIGGER" in self.schema | self.tables.get(table, frozenset())

    def sees_all_references(self) -> bool:
        """Whether foreign keys of tables that the login may not read can be seen.

        Their CASCADE deletes rows there all the same.
        """
        return "PROCESS" in self.everywhere

    def on_tables(self, privilege: str) -> list[str]:
        """The tables on which it is held by their name."""
        return sorted(name for name, held in self.tables.items() if privilege in held)


def held(connection: Connection, schema: str) -> Grants:
    """The privileges of the session's login; ``schema`` may be empty."""
    lines = _lines(connection)
    everywhere: set[str] = set()
    within: set[str] = set()
    tables: dict[str, frozenset[str]] = {}
    revoked: set[str] = set()
    for verb, privileges, database, table in _parsed(lines):
        if verb == "REVOKE":
            if _fits(database, schema):
                revoked |= privileges
        elif database == "*":
            everywhere |= privileges
        elif not _fits(database, schema):
            continue
        elif table == "*":
            within |= privileges
        else:
            name = _bare(table)
            tables[name] = tables.get(name, frozenset()) | privileges
    return Grants(frozenset(everywhere), frozenset((everywhere - revoked) | within), tables)


def has(connection: Connection, privilege: str, schema: str, name: str) -> bool:
    """Whether it is held on all of a table. For what no harmless statement tries."""
    found = held(connection, schema)
    return bool({privilege, _ALL} & (found.schema | found.tables.get(name, frozenset())))


def everywhere(connection: Connection, privilege: str) -> bool:
    """Whether it is held on all tables there are."""
    if any(line.startswith("REVOKE ") for line in _lines(connection)):
        return False
    return bool({privilege, _ALL} & held(connection, "").everywhere)


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


def _lines(connection: Connection) -> list[str]:
    role = one(connection, "SELECT CURRENT_ROLE()")[0]
    lines = texts(connection, "SHOW GRANTS")
    # MariaDB names a role as it is, and shows what it may do without being asked.
    if role not in (None, "NONE") and str(role).startswith("`"):
        lines += texts(connection, f"SHOW GRANTS FOR CURRENT_USER() USING {role}")
    return [str(line) for (line, *_) in lines]


def _parsed(lines: list[str]) -> Iterator[tuple[str, frozenset[str], str, str]]:
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            # Of a role, or of a proxy.
            continue
        verb, text, database, table = found.groups()
        privileges = frozenset(_PRIVILEGE.findall(text))
        if _ALL in privileges:
            privileges |= frozenset(NEEDED)
        yield verb, privileges, database, table


def _bare(name: str) -> str:
    return name[1:-1].replace("``", "`")


def _fits(pattern: str, schema: str) -> bool:
    """Databases are granted by patterns, as of LIKE."""
    words = {"%": ".*", "_": "."}
    parts = re.findall(r"\\.|.", _bare(pattern), re.DOTALL)
    text = "".join(words.get(part) or re.escape(part.removeprefix("\\")) for part in parts)
    return re.fullmatch(text, schema, re.DOTALL) is not None
