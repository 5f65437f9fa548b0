"""Which source value goes into which target column, and how well it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar

from dsp_airflow.config import documents
from dsp_airflow.config.jobs import ColumnMapping, TableJob
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.sqltokens import SqlError
from dsp_airflow.config.where import Expression, parse_expression, parse_where
from dsp_airflow.engine.canon.printed import UNPRINTED
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import (
    Absent,
    Column,
    ColumnPair,
    Field,
    LogicalType,
    Loss,
    OnLoss,
    Shape,
)
from dsp_airflow.engine.near import near
from dsp_airflow.engine.ports import Dialect, Session
from dsp_airflow.engine.rules import Words, said
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
    null_as: Literal["null", "missing"] = "null"
    """How NULL is written, where the target holds documents."""


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
        if "missing" in item.model_fields_set and not dialect.documents:
            raise ConfigError(
                f"job {job.name}: column {item.target_name}: missing is for fields of documents, "
                "and rows of a table lack none; remove it"
            )
        if item.source is not None:
            column = (
                _field(job, item, wanted, dialect)
                if dialect.documents
                else column_of(shape, item.source, f"job {job.name}")
            )
            sql = dialect.quote(column.name)
            entry = Entry(item.target_name, column, sql, True, wanted, item.on_loss, item.null_as)
            found.append(entry)
            continue
        if dialect.documents:
            raise ConfigError(
                f"job {job.name}: column {item.target_name}: documents have fields alone; name one "
                "under source, and leave constants and expressions to a default or a view of the "
                "target"
            )
        if item.expression is not None:
            sql = rendered(job, item.expression, shape, dialect, literals)
        else:
            sql = dialect.literal(item.constant)
        (typed,) = session.typed(shape, [sql])
        name = item.target_name
        # An untyped constant gets its type here: every expression that travels has one.
        sql = dialect.typed(sql, typed.native)
        made = replace(typed, name=name)
        found.append(Entry(name, made, sql, False, wanted, item.on_loss, item.null_as))
    return found


def _field(
    job: TableJob, item: ColumnMapping, wanted: LogicalType | None, dialect: Dialect
) -> Column:
    """A field of documents, as the job says what it is."""
    if wanted is None:
        raise ConfigError(
            f"job {job.name}: field {item.source} needs type: in a collection every document may "
            "have another; dsp plan --infer FILE proposes one of what it finds"
        )
    return Column(item.source or "", dialect.held(wanted), str(wanted), absent=item.missing)


def into_documents(
    job: TableJob | RestoreJob, entries: Sequence[Entry], width: int, *, named: bool
) -> list[Entry]:
    """The mapping as fields of documents; the first ``width`` are the key's.

    Unless they are ``named``, the key becomes ``_id``: its one column, or a document of them.
    """
    found = list(entries)
    if not named:
        for n, entry in enumerate(found):
            name = entry.target
            if not name or "." in name or name.startswith("$"):
                raise ConfigError(
                    f"job {job.name}: column {name!r} is no name of a field; map it to another one"
                )
            if n < width:
                name = ID if width == 1 else f"{ID}.{name}"
            elif name == ID:
                raise ConfigError(
                    f"job {job.name}: column {ID} is not the key, which {ID} of a document is; map "
                    "it to another name"
                )
            found[n] = replace(entry, target=name)
    for n, entry in enumerate(found):
        parts = entry.target.split(".")
        if not all(parts) or any(part.startswith("$") or "\0" in part for part in parts):
            raise ConfigError(
                f"job {job.name}: target {entry.target!r} is no path of fields; names between the "
                "dots are not empty and begin with no $"
            )
        if (parts[0] == ID) != (n < width):
            raise ConfigError(
                f"job {job.name}: {entry.source.name} -> {entry.target}: {ID} of a document is "
                f"the key, and the key is {ID}: map its one column to {ID}, or each of several "
                f"to a field of it, such as {ID}.{entry.source.name}"
            )
        if n < width and entry.source.type.name not in UNPRINTED:
            raise ConfigError(
                f"job {job.name}: key column {entry.source.name} {entry.source.native}: documents "
                "are not found by a key of this type; map it as a text, or name another key"
            )
        _refuse_crossed(job, entry.target, [e.target for e in found[:n]])
    return found


def onto(job: TableJob | RestoreJob, there: Shape, made: Shape) -> Shape:
    """The collection that stands there, with the fields that are to be written to it."""
    own, given = there.columns[0], made.columns[0]
    if not own.deterministic and own.collation != given.collation:
        raise ConfigError(
            f"job {job.name}: {there.table} compares ids by a collation ({own.collation}), so that "
            "two keys could meet in one; name a collection without it"
        )
    return replace(there, columns=made.columns, key=made.key, unique=made.unique)


ID = "_id"
"""The field of a document that tells it from all others."""


def _refuse_crossed(job: TableJob | RestoreJob, path: str, others: Sequence[str]) -> None:
    for other in others:
        shorter, longer = sorted((path, other), key=len)
        if longer == shorter or longer.startswith(f"{shorter}."):
            raise ConfigError(
                f"job {job.name}: {shorter} and {longer} cannot both be written: the one is inside "
                "of the other"
            )


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
    job: TableJob, shape: Shape, dialect: Dialect, variables: Mapping[str, Any]
) -> str | None:
    """The job's ``where``, with its ``variables`` as the run resolved them."""
    if job.where is None:
        return None
    if not isinstance(job.where, str | Mapping):
        words = Words(job, shape, dialect, variables, lambda column: dialect.quote(column.name))
        return said(job.where, words)
    literals = {name: dialect.literal(value) for name, value in variables.items()}
    if isinstance(job.where, Mapping):
        return documents.render(job.where, literals)
    return condition(job.where, shape, dialect, f"job {job.name}: where", literals)


def condition(
    where: str, shape: Shape, dialect: Dialect, why: str, literals: Mapping[str, str] | None = None
) -> str:
    """A condition in SQL over the table's columns; ``why`` says where it stands."""
    parsed = _parsed(parse_where, where, dialect, why)
    return parsed.render(literals or {}, _columns(shape, dialect, why))


def _parsed(parse: Callable[[str, str], E], text: str, dialect: Dialect, why: str) -> E:
    try:
        return parse(text, dialect.name)
    except SqlError as error:
        raise ConfigError(f"{why}: as SQL of {dialect.name}: {error}") from error


def _columns(shape: Shape, dialect: Dialect, why: str) -> Callable[[str], str]:
    def quoted(name: str) -> str:
        return dialect.quote(column_of(shape, name, why).name)

    return quoted


_WRITTEN: Final[Mapping[str, Absent]] = {"null": "written", "missing": "missing"}


def designed(entry: Entry, dialect: Dialect, *, alike: bool, key: bool) -> Column:
    """The column of a created target. ``alike``: both sides are the same system."""
    source = entry.source
    whole = source.absent is None
    as_text = LogicalType("string")
    kind, native = source.type, source.native
    if entry.wanted is not None:
        kind = entry.wanted
        if entry.on_loss == "text" and (not whole or narrows(source.type, entry.wanted)):
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
        # What documents are kept as whole has no fields.
        absent=_WRITTEN[entry.null_as] if dialect.documents and not (alike and whole) else None,
    )


def pair(entry: Entry, target: Column, dialect: Dialect) -> ColumnPair:
    """One line of the type report."""
    source = entry.source
    verdict, note = fit(source.type, target.type)
    caveats = [dialect.caveat(source, target)]
    if source.absent is not None and entry.on_loss != "error":
        # Under error no value of another type ever arrives.
        caveats.append(f"values of other types than {source.type}")
    if any(caveats) and verdict != "refused":
        verdict, note = "lossy", "; ".join(filter(None, [note, *caveats]))
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
            made = source.across(made, column, key, target.name)
        loose = not column.deterministic
        kind = column.type
        for dialect in (source, target):
            kind = dialect.compared(kind)
        expressions = made.expression, target.plain(column)
        if kind != column.type:
            expressions = source.at(expressions[0], kind), target.at(expressions[1], kind)
        mine, other = expressions
        ours.append(Field(column.name, kind, made.native, mine, loose, made.utf8))
        theirs.append(Field(column.name, kind, column.native, other, loose, target.utf8(column)))
        if made.lost:
            losses.append(Loss(column.name, report.on_loss, made.lost))
    return Fields(tuple(ours), tuple(theirs), tuple(losses))
