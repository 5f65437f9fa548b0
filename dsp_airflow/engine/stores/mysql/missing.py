"""Rows of a table that have none of the keys that were sent: an anti-join on the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dsp_airflow.engine.model import Key, Projection
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.mysql import load, proof, stage
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, texts
from dsp_airflow.engine.stores.mysql.transactions import transaction

_MISSING: Final = "`dsp_missing`"
# Under any other level the server would lock all rows that are only read here.
_ISOLATION: Final = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"


class MySqlMissing:
    """See ``missing.Missing``: temporary tables of the session."""

    def __init__(
        self, connection: Connection, what: Projection, stream: Stream, *, wire: str
    ) -> None:
        self._connection = connection
        self.close()
        stage.create(connection, what)
        with transaction(connection):
            self.sent = load.fill(connection, stage.STAGE, what.fields, stream, wire, what.label)
        names = [f"`k{n}`" for n in range(len(what.key))]
        columns = ", ".join(f"{name} LONGTEXT CHARACTER SET utf8mb4 NOT NULL" for name in names)
        own = ", ".join(
            f"CONVERT({key} USING utf8mb4) AS {name}"
            for key, name in zip(proof.own_key(what), names, strict=True)
        )
        execute(connection, _ISOLATION)
        execute(
            connection,
            f"CREATE TEMPORARY TABLE {_MISSING} (`n` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT "
            f"PRIMARY KEY, {columns}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC SELECT {own} "
            f"FROM {what.table} AS t WHERE NOT EXISTS "
            f"(SELECT 1 FROM {stage.STAGE} AS s WHERE {stage.matches(what)})",
        )
        self.rows = self._number(f"SELECT COUNT(*) FROM {_MISSING}")
        self.standing = self._number(f"SELECT COUNT(*) FROM {what.table}")
        self._names = ", ".join(names)

    def _number(self, statement: str) -> int:
        return int(str(one(self._connection, statement)[0]))

    def keys(self, at_once: int) -> Iterator[list[Key]]:
        """See ``missing.Missing``."""
        last, left = 0, self.rows
        while left > 0:
            # Numbers may have gaps where a cluster gives them out.
            found = texts(
                self._connection,
                f"SELECT `n`, {self._names} FROM {_MISSING} WHERE `n` > {last} ORDER BY `n` "
                f"LIMIT {at_once}",
            )
            if not found:
                return
            last, left = int(str(found[-1][0])), left - len(found)
            yield [tuple(map(str, row[1:])) for row in found]

    def close(self) -> None:
        """See ``missing.Missing``."""
        stage.drop(self._connection)
        execute(self._connection, f"DROP TEMPORARY TABLE IF EXISTS {_MISSING}")
