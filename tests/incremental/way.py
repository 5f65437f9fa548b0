"""An incremental job from any system to any other, or into a bucket, driven through the steps."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import select

from dsp_airflow.engine.errors import DspError
from dsp_airflow.state.cursors import Cursors
from dsp_airflow.state.records import JobSummary
from dsp_airflow.state.tables import RUNS
from tests.engine.harness import Bench
from tests.incremental.tables import Table
from tests.mongo.cross import Cross
from tests.s3.harness import Archives, Away
from tests.servers import MongoDatabase
from tests.servers.s3 import Place, client_of


@dataclass
class Way(Cross):
    """From ``source`` to ``target``, or into the bucket where there is one."""

    def table(self, name: str = "t") -> Table:
        """One of the source's."""
        return Table(self.source, name)

    def moving(self, name: str = "t", **more: Any) -> dict[str, Any]:
        """An incremental job on that table, called as it is."""
        given: dict[str, Any] = {
            "name": name,
            "mode": "incremental",
            "source": {"connection": "source", "table": self.named(self.source, name)},
            "check": {"percent": 100},
            **more,
            "cursor": {"column": "at", **more.get("cursor", {})},
        }
        if self.place is not None:
            target = {"connection": "archive", "bucket": self.place.name, "prefix": name}
            return {"type": "s3", "target": target, **given}
        if isinstance(self.source, MongoDatabase) and not isinstance(self.target, MongoDatabase):
            # The cursor need not be copied.
            number = {"source": "_id", "target": "id", "type": "int32"}
            given["columns"] = [number, {"source": "v", "type": "string"}]
        target = {"connection": "target", "table": self.named(self.target, name)}
        return {"type": "warm", "target": target, **given}

    def again(self) -> JobSummary:
        """One more run of the only job, through to its end."""
        (job,) = self.run(new=True).jobs
        assert job.rows_different == 0
        return job

    def there(self, name: str = "t") -> dict[int, str]:
        """What the target has of that table; of archived versions the last one."""
        if self.place is None:
            return Table(self.target, name).read()
        found: dict[int, str] = {}
        for rows in self.archived(name):
            found.update(rows)
        return found

    def archived(self, name: str = "t") -> list[dict[int, str]]:
        """What each finished run has archived, in the order in which they began."""
        objects = self.objects()
        with self.state.read() as connection:
            runs = connection.execute(select(RUNS.c.id).order_by(RUNS.c.created_at)).scalars()
            folders = [f"{name}/run={run}/" for run in runs]
        found = []
        for folder in folders:
            if f"{folder}_manifest.json" not in objects:
                continue
            keys = [key for key in objects if key.startswith(f"{folder}batch=")]
            found.append({n: v for key in keys for n, v in _rows(objects[key])})
        return found

    def cursor(self, name: str = "t") -> str | None:
        """Where it stands."""
        states = Cursors(self.state).of_task("task")
        return next((state.value for state in states if state.key.job == name), None)


def _rows(parquet: bytes) -> list[tuple[int, str]]:
    found = pq.read_table(io.BytesIO(parquet)).to_pylist()
    if found and "document" in found[0]:
        import bson

        found = [bson.decode(row["document"]) for row in found]
        return [(row["_id"], row["v"]) for row in found]
    return [(row["id"], row["v"]) for row in found]


@dataclass(frozen=True)
class Address:
    """All that a process needs to know of a way."""

    folder: Path
    source: str
    target: str
    bucket: tuple[str, str, str] | None


def address_of(way: Way) -> Address:
    place: Place | None = way.place
    server = None if place is None else place.server
    bucket = None if server is None else (server.endpoint, server.key, server.secret)
    return Address(way.folder, way.source.uri, way.target.uri, bucket)


def whole(at: Address, new: bool) -> None:
    """A run from plan to check, a new one or the unfinished one; exits 0 when it is complete."""
    source, target = Away(at.source), Away(at.target)
    bench: Bench[Any] = Bench(at.folder, source, target)
    if at.bucket is not None:
        bench = Archives(at.folder, source, target, client=client_of(*at.bucket))
    try:
        bench.run(new=new)
    except DspError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    sys.exit(0)
