"""Which source value goes into which target column, and how well it fits."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from dsp_airflow.config import documents
from dsp_airflow.config.jobs import TableJob
from dsp_airflow.config.sqltokens import SqlError
from dsp_airflow.config.where import Expression, parse_expression, parse_where
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column, ColumnPair, Field, LogicalType, Loss, OnLoss, Shape
from dsp_airflow.engine.ports import Dialect, Session
from dsp_airflow.engine.types import fit, narrows, parse_type

E = TypeVar("E", bound=Expression)


@dataclass(frozen=True, slots=True)
class Entry:
    """One mapped column before its target is known.

    ``source`` is the column it comes from, or a stand-in that carries the type of a constant
    or expression; ``plain`` tells the two apart.
    """

    target: str
    source: Column
    sql: str
    plain: bool
    wanted: LogicalType | None
    on_loss: OnLoss = "error"


def near(name: str, names: Sequence[str]) -> str:
    """``; did you mean ...`` or the names there are."""
    found = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if found:
        return f"; did you mean {' or '.join(found)}?"
    return f"; it has {', '.join(names[:20])}" + (" ..." if len(names) > 20 else "")


def column_of(shape: Shape, name: str, why: str) -> Column:
    """The column, or ``ConfigError`` with the nearest names."""
    column = shape.column(name)
    if column is None:
        names = [c.name for c in shape.columns]
        raise ConfigError(f"{why}: {shape.table} has no column {name!r}{near(name, names)}")
    return column


def entries(
    job: TableJob,
    shape: Shape,
    target: Shape | None,
    session: Session,
    dialect: Dialect,
    literals: Mapping[str, str],
) -> list[Entry]:
    """The job's mapping, spelled out: by default every column under its own name."""
    if job.columns is None:
        skip = {c.name for c in target.columns if c.generated} if target else set()
        return [
            Entry(c.name, c, dialect.quote(c.name), True, None)
            for c in shape.columns
            if c.name not in skip
        ]
    found: list[Entry] = []
    for item in job.columns:
        wanted = parse_type(str(item.type)) if item.type is not None else None
        if item.source is not None:
            column = column_of(shape, item.source, f"job {job.name}")
            sql = dialect.quote(column.name)
            found.append(Entry(item.target_name, column, sql, True, wanted, item.on_loss))
            continue
        if item.expression is not None:
            sql = rendered(job, item.expression, shape, dialect, literals)
        else:
            sql = dialect.literal(item.constant)
        (typed,) = session.typed(shape, [sql])
        name = item.target_name
        # An untyped constant gets its type here: every expression that travels has one.
        sql = dialect.typed(sql, typed.native)
        found.append(Entry(name, replace(typed, name=name), sql, False, wanted, item.on_loss))
    return found


def rendered(
    job: TableJob,
    expression: str,
    shape: Shape,
    dialect: Dialect,
    literals: Mapping[str, str],
) -> str:
    """An expression over the source's columns, with its variables as quoted literals."""
    why = f"job {job.name}: expression {expression!r}"
    parsed = _parsed(parse_expression, expression, dialect, why)
    return parsed.render(literals, _columns(shape, dialect, why))


def rendered_filter(
    job: TableJob, shape: Shape, dialect: Dialect, literals: Mapping[str, str]
) -> str | None:
    """The job's ``where`` with its variables as quoted literals."""
    if job.where is None:
        return None
    if isinstance(job.where, Mapping):
        return documents.render(job.where, literals)
    why = f"job {job.name}: where"
    parsed = _parsed(parse_where, job.where, dialect, why)
    return parsed.render(literals, _columns(shape, dialect, why))


def _parsed(parse: Callable[[str, str], E], text: str, dialect: Dialect, why: str) -> E:
    try:
        return parse(text, dialect.name)
    except SqlError as error:
        raise ConfigError(f"{why}: as SQL of {dialect.name}: {error}") from error


def _columns(shape: Shape, dialect: Dialect, why: str) -> Callable[[str], str]:
    def quoted(name: str) -> str:
        return dialect.quote(column_of(shape, name, why).name)

    return quoted


def designed(entry: Entry, dialect: Dialect, *, alike: bool, key: bool) -> Column:
    """The column of a created target. ``alike``: both sides are the same system."""
    source = entry.source
    as_text = LogicalType("string")
    kind, native = source.type, source.native
    if entry.wanted is not None:
        kind = entry.wanted
        if entry.on_loss == "text" and narrows(source.type, entry.wanted):
            kind = as_text
    if entry.wanted is not None or not alike:
        native, kind = dialect.native(kind), dialect.held(kind)
    required = not source.nullable and entry.plain
    same = alike and entry.wanted is None
    return Column(
        name=entry.target,
        type=kind,
        native=native,
        nullable=not (required or key),
        default=source.default if entry.plain and same else None,
        collation=source.collation,
        # A column made here sorts as its database does; a type brings its equality along.
        deterministic=source.deterministic or not (same and source.needs),
        wide=source.wide,
        carrier=source.carrier if same else None,
        needs=source.needs if same else (),
        comparable=source.comparable,
    )


def pair(entry: Entry, target: Column, dialect: Dialect) -> ColumnPair:
    """One line of the type report."""
    source = entry.source
    verdict, note = fit(source.type, target.type)
    caveat = dialect.caveat(source, target)
    if caveat and verdict != "refused":
        verdict, note = "lossy", "; ".join(filter(None, [note, caveat]))
    return ColumnPair(
        source=source.name if entry.plain else entry.sql,
        target=target.name,
        source_type=source.native,
        target_type=target.native,
        fit=verdict,
        note=note,
        on_loss=entry.on_loss if verdict == "lossy" else "error",
    )


def _said_by(dialect: Dialect, column: Column) -> Column:
    """A column of another system, in this one's words: what a source value is converted to."""
    return replace(column, native=dialect.said(column), carrier=None, needs=())


@dataclass(frozen=True, slots=True)
class Fields:
    """Both sides' fields, and what the policies change."""

    source: tuple[Field, ...]
    """Converted to the target's type."""
    target: tuple[Field, ...]
    losses: tuple[Loss, ...]


def fields(
    rows: Sequence[tuple[Entry, Column, ColumnPair]], source: Dialect, target: Dialect, width: int
) -> Fields:
    """The first ``width`` rows are the key's."""
    key = ", ".join(source.as_text(entry.sql) for entry, _, _ in rows[:width])
    ours, theirs, losses = [], [], []
    for entry, column, report in rows:
        wanted = column if source.name == target.name else _said_by(source, column)
        made = source.converted(entry.sql, entry.source, wanted, report.fit, report.on_loss, key)
        if source.name != target.name:
            made = source.across(made, column, key)
        loose = not column.deterministic
        kind = column.type
        for dialect in (source, target):
            kind = dialect.compared(kind)
        expressions = made.expression, target.plain(column)
        if kind != column.type:
            expressions = source.at(expressions[0], kind), target.at(expressions[1], kind)
        ours.append(Field(column.name, kind, made.native, expressions[0], loose))
        theirs.append(Field(column.name, kind, column.native, expressions[1], loose))
        if made.lost:
            losses.append(Loss(column.name, report.on_loss, made.lost))
    return Fields(tuple(ours), tuple(theirs), tuple(losses))
