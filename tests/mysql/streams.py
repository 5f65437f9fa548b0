"""Sessions, projections and streams of the tests here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dsp_airflow.engine.model import Column, Field, KeyRange, Projection
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mysql import dialect, kinds, login, relay
from dsp_airflow.engine.stores.mysql.casting import plain
from dsp_airflow.engine.stores.mysql.names import base, quote
from dsp_airflow.engine.stores.mysql.query import Connection
from tests.servers import MySQLDatabase

ALL = KeyRange()
HASHING = "SELECT 1 FROM mysql.component WHERE component_urn LIKE '%classic_hashing'"


@contextmanager
def session(database: MySQLDatabase) -> Iterator[Connection]:
    """A session of ours; closing it twice is no error."""
    if database.server.product == "MySQL" and not database.rows(HASHING):
        # Since 9.6 the server has no MD5() of its own.
        database.execute("INSTALL COMPONENT 'file://component_classic_hashing'")
    connection = login.connect(database.arguments, SessionOptions(), "here")
    try:
        yield connection
    finally:
        if connection.open:
            connection.close()


def columns_of(**natives: str) -> list[Column]:
    """Columns of these types; texts are utf8mb4, those of a column ``latin`` latin1."""
    made = []
    for name, native in natives.items():
        digits = int(native[-2]) if "time" in native and native.endswith(")") else 0
        kind = kinds.logical(native, base(native), digits=digits, json=False)
        charset = "latin1" if name == "latin" else "utf8mb4"
        texts = f"{charset}_bin" if kind.name in ("string", "enum", "set") else None
        made.append(Column(name, kind, native, collation=texts))
    return made


def projected(table: str, columns: Sequence[Column], width: int = 1) -> Projection:
    """All columns of a table; the first ``width`` of them are the key."""
    fields = tuple(
        Field(c.name, c.type, c.native, plain(quote(c.name), c), utf8=dialect.utf8(c))
        for c in columns
    )
    key = tuple(dialect.key_column(c) for c in columns[:width])
    return Projection(quote(table), table, fields, key, markers="`dsp_commits`")


def read(
    connection: Connection, what: Projection, wire: str = relay.OWN, limit: int = 1 << 26
) -> relay.RowsOut:
    order = ", ".join(k.column for k in what.key) or "1"
    return relay.RowsOut(
        connection,
        f"SELECT {relay.rendered_row(what.fields, wire)} FROM {what.table} ORDER BY {order}",
        wire,
        limit,
    )


class Given:
    """A stream of these buffers; an error among them is raised."""

    def __init__(self, *buffers: bytes | Exception, rows: int | None = None) -> None:
        self._buffers = buffers
        told = sum(b.count(b"\n") for b in buffers if isinstance(b, bytes))
        self._told = told if rows is None else rows
        self.rows = -1
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for buffer in self._buffers:
            if isinstance(buffer, Exception):
                raise buffer
            self.size += len(buffer)
            yield buffer
        self.rows = self._told
