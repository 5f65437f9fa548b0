"""What the login of a session may do, as the server tells it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dsp_airflow.engine.stores.mysql.query import Connection, texts

NEEDED: Final = (
    *("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "CREATE TEMPORARY TABLES"),
    *("TRIGGER", "PROCESS", "ALTER", "DROP"),
)
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

    def on(self, privilege: str, table: str) -> bool:
        """Whether it is held on this table of the schema, there or not."""
        return privilege in self.schema | self.tables.get(table, frozenset())

    def on_tables(self, privilege: str) -> list[str]:
        """The tables on which it is held by their name."""
        return sorted(name for name, held in self.tables.items() if privilege in held)


def held(connection: Connection, schema: str) -> Grants:
    """The privileges of the session's login; ``schema`` may be empty."""
    lines = [str(line) for (line, *_) in texts(connection, "SHOW GRANTS")]
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


def _parsed(lines: list[str]) -> Iterator[tuple[str, frozenset[str], str, str]]:
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            # Of a role, or of a proxy.
            continue
        verb, text, database, table = found.groups()
        privileges = frozenset(_PRIVILEGE.findall(text))
        if "ALL PRIVILEGES" in privileges:
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
