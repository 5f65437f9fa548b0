"""What the catalog says of a table, its triggers and the references to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import MySQLdb

from dsp_airflow.engine.references import Name
from dsp_airflow.engine.stores.mysql import probe, translate
from dsp_airflow.engine.stores.mysql.grants import held
from dsp_airflow.engine.stores.mysql.login import is_mariadb
from dsp_airflow.engine.stores.mysql.names import quote, split_name, text_literal
from dsp_airflow.engine.stores.mysql.query import Connection, TextRow, texts

LOCKING: Final = "InnoDB"
"""The engine whose rows can be locked, and whose deletions can be taken back."""
VIEWS: Final = ("VIEW", "SYSTEM VIEW")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the catalog says of a table as a whole. Of a view the engine is empty."""

    schema: str
    name: str
    kind: str
    engine: str

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        """For statements."""
        return f"{quote(self.schema)}.{quote(self.name)}"


@dataclass(frozen=True, slots=True)
class Link:
    """A foreign key that refers to a table."""

    child: Name
    constraint: str
    action: str
    """See ``references.Reference``."""
    columns: tuple[tuple[str, str], ...]
    """The child's, each with the one that it refers to."""


def facts(connection: Connection, table: str) -> Facts | None:
    """``table`` is quoted SQL, or written as in a task file; ``None`` when it is not to be seen."""
    schema, name = split_name(table)
    found = texts(
        connection,
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE, '') "
        f"FROM information_schema.TABLES WHERE TABLE_SCHEMA = {_or_default(schema)} "
        f"AND TABLE_NAME = {text_literal(name)}",
    )
    return Facts(*map(str, found[0])) if found else None


def _or_default(schema: str | None) -> str:
    return "DATABASE()" if schema is None else text_literal(schema)


def transactional(connection: Connection) -> set[str]:
    """The engines that keep all of a transaction or nothing."""
    lines = texts(
        connection, "SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES'"
    )
    return {str(name) for (name,) in lines}


def triggers(connection: Connection, table: Facts) -> list[tuple[str, str]]:
    """Names and events, of those that the login may see (privilege TRIGGER)."""
    lines = texts(
        connection,
        "SELECT TRIGGER_NAME, EVENT_MANIPULATION FROM information_schema.TRIGGERS "
        f"WHERE EVENT_OBJECT_SCHEMA = {text_literal(table.schema)} "
        f"AND EVENT_OBJECT_TABLE = {text_literal(table.name)} ORDER BY TRIGGER_NAME",
    )
    return [(str(name), str(event)) for name, event in lines]


def links(connection: Connection, table: Facts) -> tuple[list[Link], bool]:
    """Every foreign key that refers to the table, and whether these surely are all.

    The catalog shows those of tables that the login may see. The engine's own lists show all.
    """
    try:
        lines = texts(connection, _engine_links(connection, table))
    except MySQLdb.Error as error:
        if translate.number(error) not in probe.DENIED:
            raise
    else:
        return _grouped(lines, lambda bits: _action(int(bits))), True
    lines = texts(
        connection,
        "SELECT r.CONSTRAINT_SCHEMA, r.TABLE_NAME, r.CONSTRAINT_NAME, r.DELETE_RULE, "
        "k.COLUMN_NAME, k.REFERENCED_COLUMN_NAME "
        "FROM information_schema.REFERENTIAL_CONSTRAINTS r "
        "JOIN information_schema.KEY_COLUMN_USAGE k ON k.CONSTRAINT_SCHEMA = r.CONSTRAINT_SCHEMA "
        "AND k.CONSTRAINT_NAME = r.CONSTRAINT_NAME AND k.TABLE_NAME = r.TABLE_NAME "
        f"WHERE r.UNIQUE_CONSTRAINT_SCHEMA = {text_literal(table.schema)} "
        f"AND r.REFERENCED_TABLE_NAME = {text_literal(table.name)} "
        "ORDER BY 1, 2, 3, k.ORDINAL_POSITION",
    )
    rules = ("CASCADE", "SET NULL", "SET DEFAULT")
    found = _grouped(lines, lambda rule: rule if rule in rules else "")
    return found, "SELECT" in held(connection, table.schema).everywhere


def _grouped(lines: Sequence[TextRow], action: Callable[[str], str]) -> list[Link]:
    """Lines of a key's columns, each with the key, as keys."""
    found: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for line in lines:
        *key, child, parent = map(str, line)
        found.setdefault(tuple(key), []).append((child, parent))
    return [
        Link((schema, name), constraint.rpartition("/")[-1], action(rule), tuple(columns))
        for (schema, name, constraint, rule), columns in found.items()
    ]


def _action(bits: int) -> str:
    """The engine's flags of ON DELETE."""
    return "CASCADE" if bits & 1 else "SET NULL" if bits & 2 else ""


def _engine_links(connection: Connection, table: Facts) -> str:
    if not is_mariadb(connection):
        referred = text_literal(f"{table.schema}/{table.name}")
        return (
            "SELECT SUBSTRING_INDEX(f.FOR_NAME, '/', 1), SUBSTRING_INDEX(f.FOR_NAME, '/', -1), "
            "f.ID, f.TYPE, c.FOR_COL_NAME, c.REF_COL_NAME "
            "FROM information_schema.INNODB_FOREIGN f "
            "JOIN information_schema.INNODB_FOREIGN_COLS c ON c.ID = f.ID "
            f"WHERE f.REF_NAME = {referred} ORDER BY 1, 2, 3, c.POS"
        )
    # There a name is spelled as its file is.
    schema, name, child, child_name = (
        f"CONVERT(CAST(SUBSTRING_INDEX(f.{column}, '/', {n}) AS BINARY) USING filename)"
        for column in ("REF_NAME", "FOR_NAME")
        for n in (1, -1)
    )
    return (
        f"SELECT {child}, {child_name}, f.ID, f.TYPE, c.FOR_COL_NAME, c.REF_COL_NAME "
        "FROM information_schema.INNODB_SYS_FOREIGN f "
        "JOIN information_schema.INNODB_SYS_FOREIGN_COLS c ON c.ID = f.ID "
        f"WHERE {schema} = {text_literal(table.schema)} AND {name} = {text_literal(table.name)} "
        "ORDER BY 1, 2, 3, c.POS"
    )


def fingerprint(connection: Connection, table: str) -> str:
    """See ``ports.Session``. Plain reads, which end no transaction."""
    found = facts(connection, table)
    if found is None:
        return "no such table"
    schema, name = text_literal(found.schema), text_literal(found.name)
    columns = texts(
        connection,
        "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLLATION_NAME, EXTRA "
        f"FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {name} "
        "ORDER BY ORDINAL_POSITION",
    )
    parts = texts(
        connection,
        "SELECT PARTITION_NAME, SUBPARTITION_NAME, PARTITION_METHOD, PARTITION_EXPRESSION, "
        f"PARTITION_DESCRIPTION FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = {schema} "
        f"AND TABLE_NAME = {name} ORDER BY PARTITION_NAME, SUBPARTITION_NAME",
    )
    acting = texts(
        connection,
        "SELECT TRIGGER_NAME, EVENT_MANIPULATION, ACTION_TIMING, CREATED, MD5(ACTION_STATEMENT) "
        f"FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = {schema} "
        f"AND EVENT_OBJECT_TABLE = {name} ORDER BY TRIGGER_NAME",
    )
    seen = (found, columns, parts, acting, links(connection, found)[0])
    return hashlib.sha256(repr(seen).encode()).hexdigest()
