"""A job from a bucket of GridFS into a bucket of S3."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from dsp_airflow.engine.archive import query
from dsp_airflow.engine.archive.listing import find, manifest_at, place_at
from dsp_airflow.engine.archive.verify import verify
from dsp_airflow.engine.errors import Terminated
from dsp_airflow.engine.model import Claim, Copied, Difference
from dsp_airflow.engine.stores.s3 import S3Store
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.steps import TaskRun
from tests.mongo.cross import Cross
from tests.mongo.gridfs.buckets import CHUNK, Bucket, content

FILES = "/_files/"


@dataclass
class Objects(Cross):
    """As ``Cross``, whose table is the bucket ``fs``."""

    def s3(self, columns: Any = None, **more: Any) -> dict[str, Any]:
        assert columns is None
        return self.job(
            table=more.pop("table", "fs"), gridfs=True, **{"check": {"percent": 100}, **more}
        )

    def files(self, *, whole: bool = False) -> dict[str, bytes]:
        """The objects of files, by their names below the folder of files."""
        found = {key: body for key, body in self.objects().items() if FILES in key}
        return found if whole else {key.partition(FILES)[2]: v for key, v in found.items()}

    def differences(self, phase: str) -> list[Difference]:
        latest = self.latest()
        found = latest.runs.differences(latest.run.id)
        return [one.difference for one in found if one.phase == phase]

    def s3_store(self) -> S3Store:
        found: Any = self.store("archive")
        assert isinstance(found, S3Store)
        return found

    def verdicts(self, *, quick: bool = False) -> list[str]:
        """What ``dsp archive verify`` finds."""
        assert self.place is not None
        runs = find(place_at(f"s3://{self.place.name}/a/b", self.s3_store()))
        return [str(f) for verdict in verify(runs, quick=quick) for f in verdict.findings]

    def verified(self) -> None:
        for quick in (True, False):
            assert self.verdicts(quick=quick) == []

    def wrong(self, *some: str) -> None:
        """There is something wrong, and it is called so."""
        for quick in (True, False):
            found = self.verdicts(quick=quick)
            assert found
            assert all(any(word in one for word in some) for one in found), found

    def listed(self) -> dict[str, list[Any]]:
        """All rows of the indexes, by column, as ``dsp archive query`` gives them."""
        assert self.place is not None
        runs = find(place_at(f"s3://{self.place.name}/a/b", self.s3_store()))
        chosen = [query.Selected(at, manifest_at(at)) for at in runs]
        with query.opened(chosen) as asked:
            _, batches = asked.answer("SELECT * FROM archive")
            found: dict[str, list[Any]] = {}
            for batch in batches:
                for name, values in batch.to_pydict().items():
                    found.setdefault(name, []).extend(values)
        return found

    def alter(self, name: str, body: bytes) -> None:
        """Overwrites the object of a file of this name."""
        assert self.place is not None
        (key,) = [key for key in self.files(whole=True) if key.endswith(f"-{name}")]
        self.place.client.put_object(Bucket=self.place.name, Key=key, Body=body)

    def empty(self) -> None:
        """Removes everything."""
        assert self.place is not None
        for key in self.objects():
            self.place.client.delete_object(Bucket=self.place.name, Key=key)

    def plant(self, name: str) -> None:
        """An object among the files that no index names."""
        assert self.place is not None
        folder = next(iter(self.files(whole=True))).partition(FILES)[0]
        key = f"{folder}{FILES}{name}"
        self.place.client.put_object(Bucket=self.place.name, Key=key, Body=b"x")

    def delete_index(self, number: int) -> None:
        assert self.place is not None
        (key,) = [key for key in self.batches() if f"/batch={number}." in key]
        self.place.client.delete_object(Bucket=self.place.name, Key=key)

    def copy_batches(self, run: TaskRun, batches: int) -> None:
        """Copies so many batches, and is stopped then."""
        seen = 0
        recorded = SqlLedger.copied

        def copied(ledger: SqlLedger, claim: Claim, what: Copied) -> None:
            nonlocal seen
            recorded(ledger, claim, what)
            seen += 1
            if seen == batches:
                raise Terminated("stopped by the test")

        with (
            patch.object(SqlLedger, "copied", copied),
            suppress(Terminated),
        ):
            run.copy("copy")
        assert seen == batches


def plant(source: Bucket) -> None:
    """Two whole files, three that are damaged, and chunks of an upload in progress."""
    for own in ("whole", "empty", "missing", "short", "md5"):
        source.put(b"" if own == "empty" else content(3 * CHUNK, own), own, own=own)
    source.chunks.delete_one({"files_id": "missing", "n": 1})
    source.chunks.update_one({"files_id": "short", "n": 2}, {"$set": {"data": b"x"}})
    source.files.update_one({"_id": "md5"}, {"$set": {"md5": "0" * 32}})
    source.chunks.insert_many([{"files_id": "orphan", "n": n, "data": b"x"} for n in range(3)])
