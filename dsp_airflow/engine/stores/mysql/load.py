"""Rows into MySQL: LOAD DATA from a fifo, or INSERTs made of the same buffers. No row objects.

Neither can take back rows by itself: call them inside a transaction, or on a table of one's own,
and let what they raise end it. LOAD DATA LOCAL counts what it skips or bends and goes on, so
nothing that it warns of is ever kept.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from dsp_airflow.engine.errors import Mismatch, Transient
from dsp_airflow.engine.model import Field
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.mysql import insert
from dsp_airflow.engine.stores.mysql.login import is_mariadb
from dsp_airflow.engine.stores.mysql.names import NUMBERS, base, quote, text_literal
from dsp_airflow.engine.stores.mysql.query import Connection, one, rows, texts
from dsp_airflow.engine.stores.mysql.relay import (
    CSV,
    OWN,
    TEXT,
    is_bits,
    is_bytes,
    is_float,
    is_marked,
)
from dsp_airflow.engine.stores.mysql.warned import refuse_warnings

_FORMATS: Final = {
    OWN: "FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\'",
    CSV: "FIELDS TERMINATED BY ',' ENCLOSED BY '\"' ESCAPED BY '\\\\'",
}
_LINES: Final = "LINES STARTING BY '' TERMINATED BY '\\n'"
_INFO: Final = re.compile(r"Records: (\d+) +Deleted: (\d+) +Skipped: (\d+) +Warnings: (\d+)")
_PRINTED: Final = NUMBERS | {"date", "time", "datetime", "timestamp"}
_TEXTS: Final = frozenset(["char", "varchar", "tinytext", "text", "mediumtext", "longtext"])
OCTETS: Final = "binary"
_PIPE: Final = 1 << 20
"""Bytes that a pipe may hold without a privilege: fewer turns between both ends."""


def can_load(connection: Connection) -> bool:
    """Whether the server takes files; our side of every session does."""
    (allowed,) = one(connection, "SELECT @@local_infile")
    return allowed == "1"


def wires(connection: Connection) -> tuple[str, ...]:
    """The wire formats that ``fill`` takes, the fastest first."""
    return (OWN, CSV) if can_load(connection) else (OWN, TEXT)


def fill(
    connection: Connection,
    table: str,
    fields: Sequence[Field],
    stream: Stream,
    wire: str,
    label: str,
) -> int:
    """Rows written into ``table`` (quoted SQL), all that the stream has; ``label`` names it.

    Raises ``Duplicate``, ``BadValue`` where a value does not fit, ``Mismatch`` where rows are
    missing, and whatever the stream raises: some rows are there then, and must not be committed.
    """
    columns = _columns(connection, table, fields)
    watched = _never_null(columns) | _no_sign(connection, fields)
    if wire == TEXT or (wire == OWN and not can_load(connection)):
        taken = insert.insert(connection, table, fields, stream, wire, label, watched)
    else:
        charset = OCTETS if _taken_as_octets(columns, fields) else "utf8mb4"
        taken = load(connection, table, fields, stream, wire, label, watched, charset)
    if taken != stream.rows:
        raise Mismatch(
            f"{label}: the source sent {stream.rows:,} rows and the target took {taken:,}. Nothing "
            "was written"
        )
    return taken


class _Column(NamedTuple):
    """What the server shows of a column that is written."""

    name: str
    native: str
    collation: str | None
    nullable: bool
    extra: str


def _columns(connection: Connection, table: str, fields: Sequence[Field]) -> list[_Column]:
    # Read once inside the transaction, the table is not altered before it ends.
    rows(connection, f"SELECT 1 FROM {table} LIMIT 0")
    written = {field.column.lower() for field in fields}
    found = [
        _Column(str(name), str(native), collation, null == "YES", str(extra))
        for name, native, collation, null, _key, _default, extra, *_ in texts(
            connection, f"SHOW FULL COLUMNS FROM {table}"
        )
    ]
    return [column for column in found if column.name.lower() in written]


def _never_null(columns: Sequence[_Column]) -> frozenset[str]:
    """Columns in which a server would keep something else for a NULL, and tell nobody.

    The present moment in a TIMESTAMP, the next number in an AUTO_INCREMENT; beside other
    conversions MariaDB takes 0 for a NULL there.
    """
    return frozenset(
        column.name
        for column in columns
        if "auto_increment" in column.extra
        or (not column.nullable and base(column.native) == "timestamp")
    )


def _taken_as_octets(columns: Sequence[_Column], fields: Sequence[Field]) -> bool:
    """Whether the server may take the rows as the octets that they are, and convert nothing.

    It does so in less time. All texts must be what the stream has, utf8mb4, in which the server
    still refuses what is no text; and no type may read octets in a way of its own, as UUID does.
    """
    made = {field.column.lower() for field in fields if is_bytes(field) or is_bits(field)}
    return all(
        column.name.lower() in made
        or base(column.native) in _PRINTED
        or (base(column.native) in _TEXTS and (column.collation or "").startswith("utf8mb4_"))
        for column in columns
    )


def _no_sign(connection: Connection, fields: Sequence[Field]) -> frozenset[str]:
    """Columns in which -0 would become 0, and nobody be told: MariaDB's floats."""
    floats = frozenset(field.column for field in fields if is_float(field))
    return floats if floats and is_mariadb(connection) else frozenset()


def load(
    connection: Connection,
    table: str,
    fields: Sequence[Field],
    stream: Stream,
    wire: str,
    label: str,
    watched: frozenset[str] = frozenset(),
    charset: str = "utf8mb4",
) -> int:
    """See ``fill``; by LOAD DATA LOCAL. ``watched`` columns would change a value silently."""
    with _fifo() as path:
        loading = _Loading(connection, statement(path, table, fields, wire, watched, charset))
        loading.feed(path, stream)
    found = _INFO.search(loading.info)
    if found is None:
        raise Transient(f"{label}: the server did not say what it loaded ({loading.info!r})")
    records, _, skipped, warned = map(int, found.groups())
    if warned or skipped or connection.warning_count():
        refuse_warnings(connection, label)
    return records - skipped


def statement(
    path: str,
    table: str,
    fields: Sequence[Field],
    wire: str,
    watched: frozenset[str],
    charset: str = "utf8mb4",
) -> str:
    """The LOAD DATA of these fields, in their order."""
    targets, assignments = [], []
    for n, field in enumerate(fields):
        column, variable = quote(field.column), f"@dsp_{n}"
        value = _converted(field, variable, wire, watched)
        targets.append(column if value is None else variable)
        if value is not None:
            assignments.append(f"{column} = {value}")
    ending = f" SET {', '.join(assignments)}" if assignments else ""
    return (
        f"LOAD DATA LOCAL INFILE {text_literal(path)} INTO TABLE {table} "
        f"CHARACTER SET {charset} {_FORMATS[wire]} {_LINES} ({', '.join(targets)}){ending}"
    )


def _converted(field: Field, variable: str, wire: str, watched: frozenset[str]) -> str | None:
    """What a column is set to, where that is not the field as it comes."""
    if is_bytes(field):
        return f"UNHEX(SUBSTR({variable}, 3))" if is_marked(field, wire) else f"UNHEX({variable})"
    if is_bits(field):
        return f"CAST(CONV({variable}, 2, 10) AS UNSIGNED)"
    if field.column not in watched:
        return None
    # A word that is no value of the type is warned of.
    if is_float(field):
        return f"IF(LEFT({variable}, 2) = '-0' AND {variable} = 0, 'negative zero', {variable})"
    return f"IFNULL({variable}, 'NULL')"


@contextmanager
def _fifo() -> Iterator[str]:
    """A pipe with a name that nobody else can open."""
    with tempfile.TemporaryDirectory(prefix="dsp-load-") as folder:
        path = Path(folder) / "rows"
        os.mkfifo(path, 0o600)
        yield str(path)


class _Loading:
    """A LOAD DATA that runs in a thread of its own while this one feeds it.

    The stream is read where it was opened, and a signal reaches this thread: the driver waits for
    the server without looking up.
    """

    def __init__(self, connection: Connection, query: str) -> None:
        self.info = ""
        self._connection = connection
        self._query = query
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dsp-load", daemon=True)

    def _run(self) -> None:
        try:
            self._connection.query(self._query)
            self._connection.store_result()
            self.info = text(self._connection.info())
        except BaseException as error:  # noqa: BLE001 - raised again by feed
            self._error = error

    def feed(self, path: str, stream: Stream) -> None:
        """Writes the stream to the end; raises what it, or else the server, raised."""
        self._thread.start()
        pipe = -1
        try:
            pipe = self._opened(path)
            if pipe >= 0:
                for buffer in stream:
                    _write(pipe, buffer)
        except BrokenPipeError as error:
            self._finish(path, pipe)
            raise (
                self._error or Transient("the server stopped reading in the middle of the rows")
            ) from error
        except BaseException:
            # To the server this end looks like any other: nothing of it may be committed.
            self._finish(path, pipe)
            raise
        self._finish(path, pipe)
        if self._error is not None:
            raise self._error

    def _opened(self, path: str) -> int:
        """The pipe's writing end as soon as the driver reads; -1 when the query ended before."""
        pause = 0.0002
        while True:
            try:
                pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                # Nobody reads: the server may be waiting for a lock, or have refused.
                if not self._thread.is_alive():
                    return -1
                time.sleep(pause)
                pause = min(pause * 2, 0.05)
            else:
                os.set_blocking(pipe, True)
                with suppress(OSError):
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
                return pipe

    def _finish(self, path: str, pipe: int) -> None:
        if pipe < 0:
            # The driver may have come to wait for a writer.
            pipe = self._opened(path)
        if pipe >= 0:
            os.close(pipe)
        self._thread.join()


def _write(pipe: int, buffer: bytes | memoryview) -> None:
    rest = memoryview(buffer)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def text(info: str | bytes | None) -> str:
    """What the server says of its last statement."""
    return info.decode() if isinstance(info, bytes) else info or ""
