"""Jobs between MongoDB, the relational systems and S3, driven through the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bson
import psycopg.conninfo
from bson import ObjectId

from dsp_airflow.engine.canon.mongodb import OPTIONS
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.mongodb.store import MongoStore
from dsp_airflow.engine.stores.mysql.store import MySqlStore
from dsp_airflow.engine.stores.postgres import PostgresStore
from dsp_airflow.restoring import Wish, of_manifest
from dsp_airflow.state.records import JobSummary
from tests.s3.harness import Archives, finished
from tests.servers import Database, MongoDatabase, MySQLDatabase

OID = ObjectId("0123456789abcdef01234567")
AnyDatabase = Database | MySQLDatabase | MongoDatabase


def store_of(conn_id: str, database: AnyDatabase) -> Store:
    """The store of any of them."""
    if isinstance(database, MongoDatabase):
        return MongoStore(conn_id, {"host": database.server.uri()}, database.name)
    if isinstance(database, MySQLDatabase):
        return MySqlStore(conn_id, database.arguments)
    return PostgresStore(conn_id, psycopg.conninfo.conninfo_to_dict(database.uri))


@dataclass
class Cross(Archives):
    """As ``Archives``, between databases of any kind, with ``warm`` jobs, too."""

    def store(self, conn_id: str) -> Store:
        if conn_id == "archive":
            return super().store(conn_id)
        return store_of(conn_id, {"source": self.source, "target": self.target}[conn_id])

    def named(self, database: AnyDatabase, table: str = "t") -> str:
        """As a task file names a table."""
        return f"public.{table}" if isinstance(database, Database) else table

    def warm(self, columns: Sequence[Any] | None = None, **more: Any) -> dict[str, Any]:
        """A job from the source's ``t`` to the target's."""
        target = {"connection": "target", "table": self.named(self.target)}
        return {
            "name": "copy",
            "type": "warm",
            "source": {"connection": "source", "table": self.named(self.source)},
            "target": {**target, **more.pop("target", {})},
            "check": {"percent": 100},
            "report_values": True,
            **({} if columns is None else {"columns": list(columns)}),
            **more,
        }

    def s3(self, columns: Sequence[Any] | None = None, **more: Any) -> dict[str, Any]:
        """A job from the source's ``t`` into the bucket."""
        given: dict[str, Any] = {} if columns is None else {"columns": list(columns)}
        return self.job(table=self.named(self.source), check={"percent": 100}, **given, **more)

    def moved(self, job: dict[str, Any], rows: int) -> JobSummary:
        """Copied, all of it checked, purged: nothing differs and nothing is kept."""
        self.write({"batch_size": 7, "purge": "system", **job})
        (found,) = self.run().jobs
        latest = self.latest()
        told = [d.difference for d in latest.runs.differences(latest.run.id, found.name)]
        assert (found.rows_different, found.rows_kept) == (0, 0), told
        assert found.rows_purged == found.rows_written == found.rows_checked == rows
        return found

    def back_to(self, database: AnyDatabase, table: str = "t", **wish: Any) -> JobSummary:
        """What lies in the bucket, restored to a database of any kind by its manifest."""
        assert self.place is not None
        (key,) = [key for key in self.objects() if key.endswith("/_manifest.json")]
        self.target = database
        given = Wish(connection="target", table=self.named(database, table), **wish)
        task = of_manifest(f"s3://{self.place.name}/{key}", "archive", given, self.store)
        return finished(self.going_back(task))


def document(key: Any, **fields: Any) -> bytes:
    """A document of these fields, each at the very type that it is given as."""
    return bson.encode({"_id": key, **fields}, codec_options=OPTIONS)


def field(source: str, kind: str, target: str | None = None, **more: Any) -> dict[str, Any]:
    """An entry of columns."""
    return {"source": source, "type": kind, **({"target": target} if target else {}), **more}
