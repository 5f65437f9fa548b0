"""Rows that other rows refer to: which tables go first, and which rows have to stay.

A foreign key leads from a child to the parent that it refers to; an arrow ``parent -> child`` says
what a deleted row acts on. A purge deletes a row once nothing refers to it, so that no action of
a key ever has a row to act on. See ADR 27.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from dsp_airflow.config.jobs import TableJob
from dsp_airflow.engine.model import Key

KIND = "referenced"
"""Of a row that stays because another one refers to it."""
Name: TypeAlias = tuple[str, str]
"""Schema and table, as the server spells them."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key of ``child``."""

    child: Name
    constraint: str
    action: str = ""
    """What a deleted row does to those that refer to it: ``CASCADE``, ``SET NULL``, ``SET
    DEFAULT``; empty where the server refuses to delete it."""
    parts: tuple[Name, ...] = ()
    """The child's partitions."""
    indexed: bool = True
    """An index of the child finds the rows that refer to one."""
    columns: tuple[tuple[str, str], ...] = ()
    """The child's, each with the one that it refers to."""


Look: TypeAlias = Callable[[Name], Sequence[Reference]]
"""Every foreign key that refers to a table."""


@runtime_checkable
class Refers(Protocol):
    """A session whose tables may refer to one another."""

    def named(self, table: str) -> Name | None:
        """The table, written as in a task file; ``None`` when it is not to be seen."""
        ...

    def references(self, table: Name) -> Sequence[Reference]:
        """Every foreign key that refers to this table, its own among them."""
        ...


@runtime_checkable
class LeavesReferenced(Protocol):
    """A purge transaction that leaves rows to which others refer."""

    def referenced(self) -> Mapping[Key, str]:
        """By their own keys: those that ``take_keys`` left since the last ``undo``, and why."""
        ...


def label(name: Name) -> str:
    """For messages."""
    return ".".join(name)


def refusals(table: Name, look: Look, purged: Collection[Name]) -> list[str]:
    """Why no row of the table may go, whatever refers to it; each with the path to it.

    ``purged``: the tables that jobs of the task purge, of which rows are proved in their turn.
    """
    return list(dict.fromkeys(_walked(table, look, frozenset(purged) | {table})))


def _walked(table: Name, look: Look, purged: frozenset[Name]) -> Iterator[str]:
    seen: set[tuple[Name, bool]] = set()

    def walk(path: tuple[Name, ...], *, acts: bool) -> Iterator[str]:
        for key in look(path[-1]):
            there = (*path, key.child)
            if key.child == path[-1]:
                continue
            if key.child not in purged:
                if acts and key.action:
                    yield _unproved(there, key)
            elif key.child == table:
                yield _circle(there, key)
            elif (key.child, further := acts and bool(key.action)) not in seen:
                seen.add((key.child, further))
                yield from walk(there, acts=further)

    yield from walk((table,), acts=True)


def _path(path: Sequence[Name]) -> str:
    return " -> ".join(map(label, path))


def _unproved(path: Sequence[Name], key: Reference) -> str:
    child = label(path[-1])
    return (
        f"{_path(path)} (ON DELETE {key.action}, {key.constraint}): deleting would change rows of "
        f"{child}, which no job of the task purges; add one that does, or make the key NO ACTION"
    )


def _circle(path: Sequence[Name], key: Reference) -> str:
    return (
        f"{_path(path)} ({key.constraint}): these tables refer to one another, so that no order "
        "deletes their rows; purge one of them only, or drop one of the keys"
    )


def told(table: Name, look: Look, purged: Collection[Name]) -> list[str]:
    """What an operator should know of them, short of a refusal."""
    found = []
    for key in look(table):
        child = label(key.child)
        if key.child == table:
            what = "rows to which others of the table refer go with these, or after them"
        elif key.child in purged:
            what = f"rows of {child} are purged first; those that stay keep the ones they refer to"
        else:
            what = f"rows to which {child} refers stay"
        if not key.indexed:
            what += (
                f"; {child} has no index on the columns of the key, so that the server reads all "
                "of it for every row that is deleted"
            )
        found.append(f"purge: {label(table)} -> {child} ({key.constraint}): {what}")
    return found


def warnings_of(job: TableJob, session: object, beside: Collection[str]) -> list[str]:
    """The same for a plan; nothing of a job that does not purge."""
    if job.purge == "none" or not isinstance(session, Refers):
        return []
    table = session.named(job.source.table)
    purged = {name for other in beside if (name := session.named(other))}
    return [] if table is None else told(table, session.references, purged)


def leaf_first(table: Name, look: Look, among: Collection[Name]) -> list[Name]:
    """Those ``among`` the tables whose rows have to go before the table's, in that order."""
    found: list[Name] = []

    def visit(at: Name, path: frozenset[Name]) -> None:
        for key in look(at):
            for child in (key.child, *key.parts):
                if child in among and child not in path and child not in found:
                    visit(child, path | {child})
                    found.append(child)

    visit(table, frozenset({table}))
    return found


def reason(child: str, constraint: str) -> str:
    """Why a row stays."""
    return f"{child} still refers to it ({constraint})"


def closed(held: Mapping[Key, str], pairs: Iterable[tuple[Key, Key, str]]) -> dict[Key, str]:
    """What stays of the rows of one statement: those held from outside, and what they refer to.

    ``pairs``: of rows of the statement, one that refers and the one that it refers to, and why.
    """
    parents: dict[Key, list[tuple[Key, str]]] = {}
    for child, parent, why in pairs:
        parents.setdefault(child, []).append((parent, why))
    found = dict(held)
    waiting = list(held)
    while waiting:
        for parent, why in parents.get(waiting.pop(), ()):
            if parent not in found:
                found[parent] = why
                waiting.append(parent)
    return found


def of(transaction: object) -> Mapping[Key, str]:
    """None where nothing refers to anything."""
    return transaction.referenced() if isinstance(transaction, LeavesReferenced) else {}
