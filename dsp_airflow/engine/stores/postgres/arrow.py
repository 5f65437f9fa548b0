"""A range of a table as Arrow record batches, read in the snapshot of another connection.

ADBC reads PostgreSQL's binary COPY. What it, or Arrow, has no exact type for is rendered by the
server: as canonical text, or apart from the rest in the column ``EXACT`` (see ``archive.forms``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.conninfo import make_conninfo

from dsp_airflow.engine import canon
from dsp_airflow.engine.ahead import ahead
from dsp_airflow.engine.archive.bounds import BOUNDS, outside, too_large
from dsp_airflow.engine.archive.forms import EXACT, Beyond, Form, schema_of
from dsp_airflow.engine.errors import BadValue, Transient
from dsp_airflow.engine.model import Field, KeyRange, LogicalType, Projection
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.postgres import dialect, login, proof, translate
from dsp_airflow.engine.stores.postgres.query import Connection, one

HINT: Final = 4 * 1024 * 1024
"""Bytes that a record batch aims at; a larger row comes alone."""
AHEAD: Final = 8 * 1024 * 1024
"""Bytes read while others are encoded."""
_TEXTS: Final = frozenset({"string", "enum", "json"})
_RANGES: Final = {
    "date": ("date", "0001-01-01", "9999-12-31"),
    "timestamp": ("timestamp", "0001-01-01", "9999-12-31 23:59:59.999999"),
    "timestamptz": ("timestamptz", "0001-01-01 00:00+00", "9999-12-31 23:59:59.999999+00"),
}


class ArrowReader:
    """A second connection to the same database, opened when first needed."""

    def __init__(
        self, conninfo: Callable[[], Mapping[str, Any]], options: SessionOptions, where: str
    ) -> None:
        self._conninfo = conninfo
        self._options = options
        self._where = where
        self._database: Any = None
        self._connection: Any = None

    def close(self) -> None:
        """Ends the connection."""
        for handle in (self._connection, self._database):
            if handle is not None:
                with contextlib.suppress(_driver().Error):
                    # It only read.
                    handle.close()
        self._connection = self._database = None

    def batches(
        self,
        beside: Connection,
        what: Projection,
        within: KeyRange,
        forms: Sequence[Form],
        *,
        exact: bool,
        max_row_size: int,
    ) -> Generator[Any, None, None]:
        """Record batches of ``schema_of(forms, exact=exact)``, in the snapshot of ``beside``.

        They are read in a thread of their own, which ends with the generator. Raises ``Beyond``
        when a value needs the column ``EXACT`` and ``exact`` is false, and ``Refused`` for a row
        larger than ``max_row_size``.
        """
        snapshot = one(beside, "SELECT pg_export_snapshot()")[0]
        select = (
            f"SELECT {_columns(what.fields, forms, exact=exact)} FROM {what.table} "
            f"WHERE {proof.condition(what, within)}"
        )
        reading = self._read(snapshot, select, forms, exact=exact, max_row_size=max_row_size)
        done = False
        try:
            with (
                _translated(f"{self._where}: {what.label}"),
                contextlib.closing(ahead(reading, _size, AHEAD, self._cancel)) as batches,
            ):
                yield from batches
            done = True
        finally:
            if not done:
                # Left in the middle of a COPY the connection serves nothing else.
                self.close()

    def _cancel(self) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(_driver().Error):
                # Who cannot be reached is waited for, as long as the connection lasts.
                connection.cancel()

    def _read(
        self, snapshot: str, select: str, forms: Sequence[Form], *, exact: bool, max_row_size: int
    ) -> Generator[Any, None, None]:
        # The reader whose errors have a SQLSTATE. The driver's DB-API would bring pandas along.
        from adbc_driver_manager._reader import AdbcRecordBatchReader

        if self._connection is None:
            self._open()
        self._execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._execute(f"SET TRANSACTION SNAPSHOT {dialect.text_literal(snapshot)}")
        with _driver().AdbcStatement(self._connection) as statement:
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(HINT)})
            statement.set_sql_query(select)
            found, _ = statement.execute_query()
            with contextlib.closing(AdbcRecordBatchReader._import_from_c(found.address)) as reader:
                for batch in reader:
                    shaped = _shaped(batch, forms, exact=exact, max_row_size=max_row_size)
                    # Batches may be large, and the next one is read meanwhile.
                    del batch
                    yield shaped
                    del shaped
        self._execute("COMMIT")

    def _open(self) -> None:
        import adbc_driver_postgresql

        name = {"application_name": self._options.name}
        given = {**login.CONNECT, **self._conninfo(), **name}
        given = {k: v for k, v in given.items() if v is not None}
        self._database = adbc_driver_postgresql.connect(make_conninfo("", **given))
        self._connection = _driver().AdbcConnection(self._database)
        for statement in filter(str.strip, login.settings(self._options).split(";")):
            self._execute(statement)

    def _execute(self, text: str) -> None:
        with _driver().AdbcStatement(self._connection) as statement:
            statement.set_sql_query(text)
            statement.execute_update()


def _driver() -> Any:
    import adbc_driver_manager

    return adbc_driver_manager


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """ADBC's errors become the engine's by their SQLSTATE."""
    try:
        yield
    except _driver().Error as error:
        text = str(error)
        _, _, told = text.partition("ERROR:  ")
        message = (told or text).split("\n", 1)[0].strip()
        state = getattr(error, "sqlstate", None)
        if not state:
            raise Transient(f"{where}: {message}") from error
        try:
            kind = psycopg.errors.lookup(state)
        except KeyError:
            kind = psycopg.DatabaseError
        raise translate.translated(kind(message), where) from error


# SQL


def _columns(fields: Sequence[Field], forms: Sequence[Form], *, exact: bool) -> str:
    rendered = [
        f"{_column(field, form, exact=exact)} AS c{n}"
        for n, (field, form) in enumerate(zip(fields, forms, strict=True))
    ]
    beyond = {
        form.name: (_beyond(f"({field.expression})", form.kind), field)
        for field, form in zip(fields, forms, strict=True)
        if form.bounded and (exact or not _told_here(form))
    }
    if exact:
        rendered.append(f"{_exact(beyond)} AS {dialect.quote(EXACT)}")
    elif beyond:
        rendered.append(" OR ".join(test for test, _ in beyond.values()) + " AS beyond")
    return ", ".join(rendered)


def _told_here(form: Form) -> bool:
    """Whether values that the column cannot hold are told here, which spares the server tests."""
    return form.kind.name in BOUNDS or form.kind.name == "decimal"


def _column(field: Field, form: Form, *, exact: bool) -> str:
    expression = f"({field.expression})"
    if form.text:
        return canon.postgres_text(field.expression, form.kind, field.native)
    value = expression
    element = form.kind.element
    # ADBC takes five times as long to render a numeric as the server does.
    if form.kind.name in _TEXTS or form.kind.name == "decimal":
        value = f"{expression}::text"
    elif element is not None and (element.name in _TEXTS or not _native(form.arrow.value_type)):
        value = f"{expression}::text[]"
    if not form.bounded or (_told_here(form) and not exact):
        return value
    return f"CASE WHEN NOT ({_beyond(expression, form.kind)}) THEN {value} END"


def _native(element: Any) -> bool:
    """Whether elements have a type of their own in the file, or are texts there."""
    return not pa.types.is_string(element)


def _beyond(expression: str, kind: LogicalType) -> str:
    """SQL: whether a value is none that the column holds; false for NULL."""
    if kind.name in _RANGES:
        name, first, last = _RANGES[kind.name]
        test = f"{expression} NOT BETWEEN {name} '{first}' AND {name} '{last}'"
    elif kind.name == "time":
        test = f"{expression} = time '24:00'"
    elif kind.name == "decimal":
        test = f"{expression} = 'NaN'"
    else:
        test = f"array_ndims({expression}) > 1 OR array_lower({expression}, 1) <> 1"
        element = kind.element
        if element is not None and (element.name in _RANGES or _fixed(element)):
            inner = _beyond("dsp_x", element)
            test += f" OR EXISTS (SELECT FROM unnest({expression}) AS u(dsp_x) WHERE {inner})"
    return f"coalesce({test}, false)"


def _fixed(kind: LogicalType) -> bool:
    return kind.name == "decimal" and kind.precision is not None


def _exact(beyond: Mapping[str, tuple[str, Field]]) -> str:
    if not beyond:
        return "NULL::text"
    objects: list[list[str]] = []
    pairs: list[str] = []
    for name, (test, field) in beyond.items():
        kind = field.type
        text = canon.postgres_text(field.expression, kind, field.native)
        pairs.append(f"{dialect.text_literal(name)}, CASE WHEN {test} THEN {text} END")
        if len(pairs) == 40:
            objects, pairs = [*objects, pairs], []
    groups = [*objects, pairs] if pairs else objects
    made = " || ".join(f"jsonb_build_object({', '.join(group)})" for group in groups)
    tests = " OR ".join(test for test, _ in beyond.values())
    return f"CASE WHEN {tests} THEN jsonb_strip_nulls({made})::text END"


# Arrow


def _size(batch: Any) -> int:
    size: int = batch.nbytes
    return size


def _shaped(batch: Any, forms: Sequence[Form], *, exact: bool, max_row_size: int) -> Any:
    if not exact and batch.num_columns > len(forms) and pc.any(batch.column(len(forms))).as_py():
        raise Beyond
    _refuse_large(batch, max_row_size)
    schema = schema_of(forms, exact=exact)
    columns = []
    for n, field in enumerate(schema):
        told = None if exact or not forms[n].bounded else forms[n].kind.name
        try:
            columns.append(_cast(batch.column(n), field.type))
        except pa.ArrowInvalid as error:
            if told == "decimal" and pc.any(pc.equal(batch.column(n), "NaN")).as_py():
                raise Beyond from None
            raise BadValue(f"column {field.name}: {error}") from error
        if told in BOUNDS and outside(columns[n], told):
            raise Beyond
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: Any, wanted: Any) -> Any:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if isinstance(wanted, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(wanted, _cast(column, wanted.storage_type))
    if pa.types.is_list(wanted) and pa.types.is_list(column.type):
        values = _cast(column.values, wanted.value_type)
        return pa.ListArray.from_buffers(
            wanted,
            len(column),
            column.buffers()[:2],
            null_count=column.null_count,
            offset=column.offset,
            children=[values],
        )
    return column if column.type == wanted else column.cast(wanted)


def _refuse_large(batch: Any, max_row_size: int) -> None:
    if batch.nbytes <= max_row_size:
        return
    for row in range(batch.num_rows):
        size = batch.slice(row, 1).nbytes
        if size > max_row_size:
            raise too_large(size, max_row_size)
