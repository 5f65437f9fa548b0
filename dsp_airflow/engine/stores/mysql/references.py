"""Foreign keys that refer to a table, and which of its rows they refer to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dsp_airflow.engine.model import Key, Projection
from dsp_airflow.engine.references import Name, Reference, closed, reason
from dsp_airflow.engine.stores.mysql import proof
from dsp_airflow.engine.stores.mysql.names import quote, text_literal
from dsp_airflow.engine.stores.mysql.query import Connection, execute, texts
from dsp_airflow.engine.stores.mysql.tables import Facts, Link, facts, links

CLUSTERED: Final = "PRIMARY"
PARENT: Final = "dsp_parent"
CHILD: Final = "dsp_child"


def named(connection: Connection, table: str) -> Name | None:
    """See ``references.Refers``."""
    found = facts(connection, table)
    return None if found is None else (found.schema, found.name)


def references(connection: Connection, table: Name) -> list[Reference]:
    """See ``references.Refers``."""
    found, _ = links(connection, Facts(*table, kind="", engine=""))
    return [
        Reference(link.child, link.constraint, link.action, columns=link.columns) for link in found
    ]


def is_own(link: Link, table: Facts) -> bool:
    """Whether the key refers to the table that has it."""
    return link.child == (table.schema, table.name)


def is_unchecked(link: Link, table: Facts) -> bool:
    """Whether the server's own work on the key is in the way of a delete.

    It would act on rows that came in past the key; and it checks the table's own one row by row,
    so that no two that refer to one another could go.
    """
    return bool(link.action) or is_own(link, table)


class Guard:
    """The references to a table as one purge transaction finds them.

    Made once the transaction has read the table, which cannot be altered from then on.
    """

    def __init__(self, connection: Connection, what: Projection) -> None:
        self._connection = connection
        table = facts(connection, what.table)
        self._links: list[tuple[Link, bool]] = []
        self._unchecked = False
        self._indexes: list[tuple[str, tuple[str, ...]]] = []
        if table is None:
            return
        found, _ = links(connection, table)
        self._links = [(link, is_own(link, table)) for link in found]
        self._unchecked = any(is_unchecked(link, table) for link in found)
        if found:
            self._indexes = _indexes(connection, table, found)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._links)

    def lock(self, what: Projection, matching: str) -> None:
        """Keeps rows from coming in that refer to rows of the condition, locked already.

        The server lets them in by a lock on the entry of the index that the key refers to, which
        a lock on the row leaves out.
        """
        for index, columns in self._indexes:
            names = ", ".join(map(quote, columns))
            same = " AND ".join(f"{PARENT}.{quote(c)} = dsp_keys.{quote(c)}" for c in columns)
            texts(
                self._connection,
                f"SELECT COUNT(*) FROM (SELECT DISTINCT {names} FROM {what.table} WHERE {matching})"
                f" AS dsp_keys STRAIGHT_JOIN {what.table} AS {PARENT} "
                f"FORCE INDEX ({quote(index)}) ON {same} FOR UPDATE",
            )

    def refers(self, what: Projection, matching: str) -> bool:
        """Whether a row of the condition is referred to by one that does not meet it."""
        return any(
            texts(
                self._connection,
                f"SELECT 1 FROM {what.table} AS {PARENT} WHERE {matching} AND "
                f"{_referred(link, own, matching)} LIMIT 1",
            )
            for link, own in self._links
        )

    def held(self, what: Projection, matching: str) -> dict[Key, str]:
        """Of the rows of the condition those that have to stay while all of them would go."""
        own_key, found = ", ".join(proof.own_key(what)), dict[Key, str]()
        for link, own in self._links:
            lines = texts(
                self._connection,
                f"SELECT {own_key} FROM {what.table} AS {PARENT} WHERE {matching} AND "
                f"{_referred(link, own, matching)}",
            )
            found = {tuple(map(str, line)): _reason(link) for line in lines} | found
        if not found:
            return found
        pairs = [
            pair
            for link, own in self._links
            for pair in (self._pairs(link, what, matching) if own else ())
        ]
        return closed(found, pairs)

    def _pairs(self, link: Link, what: Projection, matching: str) -> list[tuple[Key, Key, str]]:
        width = len(what.key)
        keys = ", ".join(f"{text} AS dsp_k{n}" for n, text in enumerate(proof.own_key(what)))
        sides = []
        for side, name in enumerate((CHILD, PARENT)):
            columns = ", ".join(quote(pair[side]) for pair in link.columns)
            sides.append(f"(SELECT {columns}, {keys} FROM {what.table} WHERE {matching}) AS {name}")
        shown = ", ".join(f"{name}.dsp_k{n}" for name in (CHILD, PARENT) for n in range(width))
        lines = texts(
            self._connection, f"SELECT {shown} FROM {sides[0]} JOIN {sides[1]} ON {_match(link)}"
        )
        found = [tuple(map(str, line)) for line in lines]
        return [(line[:width], line[width:], _reason(link)) for line in found]

    @contextmanager
    def deleting(self) -> Iterator[None]:
        """No key that would act does so inside: what refers to the rows was looked for before."""
        if not self._unchecked:
            yield
            return
        execute(self._connection, "SET foreign_key_checks = 0")
        try:
            yield
        finally:
            execute(self._connection, "SET foreign_key_checks = 1")


def _indexes(
    connection: Connection, table: Facts, found: list[Link]
) -> list[tuple[str, tuple[str, ...]]]:
    """Those that keys refer to, beside the one that rows lie in, and by which columns."""
    lines = texts(
        connection,
        "SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS "
        f"WHERE TABLE_SCHEMA = {text_literal(table.schema)} "
        f"AND TABLE_NAME = {text_literal(table.name)} ORDER BY INDEX_NAME, SEQ_IN_INDEX",
    )
    columns: dict[str, list[str]] = {}
    for index, column in lines:
        columns.setdefault(str(index), []).append(str(column).lower())
    wanted = {tuple(parent.lower() for _, parent in link.columns) for link in found}
    clustered = columns.pop(CLUSTERED, [])
    return [
        (index, referred)
        for referred in sorted(wanted)
        if tuple(clustered[: len(referred)]) != referred
        for index, of in sorted(columns.items())
        if set(of[: len(referred)]) == set(referred)
    ]


def _match(link: Link) -> str:
    return " AND ".join(
        f"{PARENT}.{quote(parent)} = {CHILD}.{quote(child)}" for child, parent in link.columns
    )


def _referred(link: Link, own: bool, matching: str) -> str:
    outside = f" AND ({matching}) IS NOT TRUE" if own else ""
    child = ".".join(map(quote, link.child))
    return f"EXISTS (SELECT 1 FROM {child} AS {CHILD} WHERE {_match(link)}{outside})"


def _reason(link: Link) -> str:
    return reason(".".join(link.child), link.constraint)
