"""Rows of a table that have none of the keys that were sent: an anti-join on the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.model import Key, Projection
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.postgres import dialect, relay
from dsp_airflow.engine.stores.postgres.query import Connection, one

_SENT: Final = "pg_temp.dsp_sent"
_MISSING: Final = "pg_temp.dsp_missing"


class PostgresMissing:
    """See ``missing.Missing``: temporary tables of the session."""

    def __init__(
        self, connection: Connection, what: Projection, stream: Stream, *, wire: str
    ) -> None:
        self._connection = connection
        self._width = len(what.key)
        self.close()
        self.sent = self._take(what, stream, wire)
        names = [f"k{n}" for n in range(self._width)]
        own = ", ".join(f"t.{k.column}::text AS {n}" for k, n in zip(what.key, names, strict=True))
        matches = " AND ".join(
            f"s.{column} = t.{column}" for column in (dialect.quote(f.column) for f in what.fields)
        )
        connection.execute(
            f"CREATE TEMPORARY TABLE dsp_missing AS SELECT row_number() OVER () AS n, {own} "
            f"FROM {what.table} AS t WHERE NOT EXISTS "
            f"(SELECT 1 FROM {_SENT} AS s WHERE {matches})".encode()
        )
        connection.execute(f"CREATE INDEX ON {_MISSING} (n)".encode())
        self.rows = int(one(connection, f"SELECT count(*) FROM {_MISSING}")[0])
        self.standing = int(one(connection, f"SELECT count(*) FROM {what.table}")[0])
        self._names = ", ".join(names)

    def _take(self, what: Projection, stream: Stream, wire: str) -> int:
        columns = ", ".join(f"{dialect.quote(f.column)} {f.native}" for f in what.fields)
        self._connection.execute(f"CREATE TEMPORARY TABLE dsp_sent ({columns})".encode())
        names = ", ".join(dialect.quote(f.column) for f in what.fields)
        taken = relay.copy_in(
            self._connection, f"COPY {_SENT} ({names}) FROM STDIN (FORMAT {wire})", stream
        )
        if taken != stream.rows:
            raise Mismatch(
                f"{what.label}: the source sent {stream.rows:,} keys, and {taken:,} arrived; "
                "nothing was deleted"
            )
        self._connection.execute(f"ANALYZE {_SENT}".encode())
        return taken

    def keys(self, at_once: int) -> Iterator[list[Key]]:
        """See ``missing.Missing``."""
        last = 0
        while last < self.rows:
            rows = self._connection.execute(
                f"SELECT {self._names} FROM {_MISSING} WHERE n BETWEEN %s AND %s".encode(),
                (last + 1, last + at_once),
            ).fetchall()
            last += at_once
            yield [tuple(row) for row in rows]

    def close(self) -> None:
        """See ``missing.Missing``."""
        self._connection.execute(f"DROP TABLE IF EXISTS {_SENT}, {_MISSING}".encode())


__all__ = ["PostgresMissing"]
