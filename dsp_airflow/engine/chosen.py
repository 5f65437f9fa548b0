"""Which rows of a table belong to a job: by its filter, and by other rows.

Conditions name the table's columns alone, so that they hold wherever they stand: what looks at
other rows does so by ``IN``, never by a name from outside of it. Each statement asks anew, so that
a purge finds a row as it finds one that left the filter once its parent is none of the job's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsp_airflow.config.belonging import KeepNewest
from dsp_airflow.config.jobs import TableJob
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.engine import mapping, rules
from dsp_airflow.engine.errors import ConfigError, Denied
from dsp_airflow.engine.model import Shape
from dsp_airflow.engine.ports import Dialect, Session
from dsp_airflow.engine.references import Reference, Refers, label


@dataclass(frozen=True, slots=True)
class Parent:
    """A job that others belong to, with its variables as the run resolved them."""

    job: TableJob
    variables: Mapping[str, Any]


def rows_of(
    job: TableJob,
    session: Session,
    shape: Shape,
    dialect: Dialect,
    variables: Mapping[str, Any],
    parents: Sequence[Parent] = (),
) -> str | None:
    """The condition that a row of the job meets; ``None``: every row does.

    ``parents``: the job that it belongs to first, then that one's own, up to one that has none.
    """
    parts = []
    own = mapping.rendered_filter(job, shape, dialect, variables)
    if own is not None:
        parts.append(own)
    if job.keep_newest is not None:
        parts.append(_not_newest(job, job.keep_newest, shape, dialect))
    if parents:
        above, *further = parents
        there = _described(job, above.job.source.table, session, dialect)
        try:
            theirs = rows_of(above.job, session, there, dialect, above.variables, further)
        except rules.WrongRule as error:
            # Its place is one in the other job.
            raise ConfigError(f"job {job.name}: belongs_to: {error}") from error
        keys = between(job, shape, there, session)
        parts.append(refers_to(keys, dialect, dialect.qualified(there), theirs))
    return (
        " AND ".join(f"({part})" for part in parts) if len(parts) > 1 else next(iter(parts), None)
    )


def by_others(job: TableJob) -> bool:
    """Whether other rows decide which rows are the job's."""
    return job.belongs_to is not None or job.keep_newest is not None


def rows_to_restore(
    job: RestoreJob,
    session: Session,
    shape: Shape,
    dialect: Dialect,
    column: Callable[[str], str],
    parents: Sequence[RestoreJob],
) -> str:
    """The condition that an archived row refers to a row of the target that ``parents`` restored.

    More exactly: to one that stands there and meets what they ask for. ``column`` says how the
    condition names the archived row's columns.
    """
    above, *further = parents
    there = _described(job, above.target.table, session, dialect)
    parts = []
    if above.where is not None:
        parts.append(_said(above, there, dialect))
    if further:
        parts.append(rows_to_restore(above, session, there, dialect, dialect.quote, further))
    condition = " AND ".join(f"({part})" for part in parts) or None
    keys = between(job, shape, there, session)
    return refers_to(keys, dialect, dialect.qualified(there), condition, column)


def _said(job: RestoreJob, shape: Shape, dialect: Dialect) -> str:
    """What a restore asks for, of rows that stand in its target."""
    if job.where is not None and not isinstance(job.where, str):
        return rules.said(
            job.where, rules.Words(job, shape, dialect, {}, lambda c: dialect.quote(c.name))
        )
    return mapping.condition(str(job.where), shape, dialect, f"job {job.name}: where")


def _not_newest(job: TableJob, kept: KeepNewest, shape: Shape, dialect: Dialect) -> str:
    why = f"job {job.name}: keep_newest"
    if dialect.documents:
        raise ConfigError(f"{why}: {shape.table} holds documents; it is for tables of rows")
    by, *per = (
        dialect.quote(mapping.column_of(shape, name, why).name) for name in (kept.by, *kept.per)
    )
    groups = f" GROUP BY {', '.join(per)}" if per else ""
    # One SELECT more, as MySQL reads a table that it deletes from only where that stands apart.
    columns = ", ".join([*per, f"max({by}) AS dsp_newest"])
    groups = f"{dialect.qualified(shape)}{groups} HAVING max({by}) IS NOT NULL"
    newest = f"SELECT * FROM (SELECT {columns} FROM {groups}) AS dsp_kept"  # noqa: S608
    given = " AND ".join(f"{name} IS NOT NULL" for name in (by, *per))
    return f"{given} AND NOT ({_row([*per, by])} IN ({newest}))"


def _described(job: TableJob | RestoreJob, table: str, session: Session, dialect: Dialect) -> Shape:
    """The table that rows have to refer to."""
    there = session.describe(table)
    if there is None:
        raise ConfigError(f"job {job.name}: belongs_to: {table} is not there, or not to be seen")
    if hidden := session.read_refusals(dialect.qualified(there)):
        raise Denied(f"job {job.name}: belongs_to: {'; '.join(hidden)}")
    return there


def between(
    job: TableJob | RestoreJob, shape: Shape, there: Shape, session: Session
) -> list[Reference]:
    """The foreign keys by which rows of the one table refer to rows of the other."""
    mine = other = None
    if isinstance(session, Refers):
        mine, other = session.named(shape.table), session.named(there.table)
    if not isinstance(session, Refers) or mine is None or other is None:
        raise ConfigError(f"job {job.name}: belongs_to is for tables that have foreign keys")
    if mine == other:
        raise ConfigError(f"job {job.name}: belongs_to: both jobs read {label(mine)}")
    found = [key for key in session.references(other) if mine in (key.child, *key.parts)]
    if not found:
        raise ConfigError(
            f"job {job.name}: belongs_to: {label(mine)} has no foreign key that refers to "
            f"{label(other)}, by which its rows would belong to rows there"
        )
    return sorted(found, key=lambda key: key.constraint)


def refers_to(
    keys: Sequence[Reference],
    dialect: Dialect,
    table: str,
    condition: str | None,
    column: Callable[[str], str] | None = None,
) -> str:
    """That a row refers to one of the table which meets the condition, by any of the keys.

    ``column`` says how the row's own columns are called, unless by their quoted names.
    """
    ways = []
    for key in keys:
        mine = [(column or dialect.quote)(child) for child, _ in key.columns]
        theirs = ", ".join(f"dsp_above.{dialect.quote(parent)}" for _, parent in key.columns)
        where = "" if condition is None else f" WHERE {condition}"
        ways.append(f"{_row(mine)} IN (SELECT {theirs} FROM {table} AS dsp_above{where})")  # noqa: S608
    return " OR ".join(f"({way})" for way in ways)


def _row(columns: Sequence[str]) -> str:
    names = ", ".join(columns)
    return f"({names})" if len(columns) > 1 else names
