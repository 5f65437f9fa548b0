"""The leg of MongoDB: whole documents from one database to another, checked and purged."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo

from bench import measure
from bench.measure import Contest, Sample
from bench.report import Report
from bench.stage import JOB, Stage, Task
from bench.tables import EATEN, TABLE
from tests.servers import MongoServer

MIN_OF_OUT = 0.75
MIN_OF_INSERT_MANY = 1.6
HERE, THERE = "mongo_source", "mongo_target"
"""Names of the databases, and ids of the Airflow connections to them."""
FILLED = 10_000
"""Documents of one insert when a collection is filled."""
OUT = """
import sys, pymongo
uri, source, target, name = sys.argv[1:]
client = pymongo.MongoClient(uri)
list(client[source][name].aggregate([{"$out": {"db": target, "coll": name}}]))
"""
LOOP = """
import sys, pymongo
uri, source, target, name = sys.argv[1:]
client = pymongo.MongoClient(uri)
documents = []
for document in client[source][name].find():
    documents.append(document)
    if len(documents) == 1000:
        client[target][name].insert_many(documents)
        documents = []
if documents:
    client[target][name].insert_many(documents)
"""
RAW = """
import struct, sys, pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern
uri, source, target, name, whole = sys.argv[1:]
client = pymongo.MongoClient(uri)

class Documents(RawBSONDocument):
    __slots__ = ("raw",)
    def __init__(self, buffer):
        self.raw = buffer

def number(buffer):
    at = count = 0
    while at < len(buffer):
        at += struct.unpack_from("<i", buffer, at)[0]
        count += 1
    return count

client[target].create_collection(name)
written = 0
with client.start_session() as session:
    for batch in client[source][name].find_raw_batches(batch_size=2000):
        if whole and not session.in_transaction:
            session.start_transaction(ReadConcern("snapshot"), WriteConcern("majority"))
        command = {"insert": name, "documents": [Documents(batch)]}
        client[target].command(command, session=session if whole else None)
        written += number(batch)
        if whole and written >= 20000:
            session.commit_transaction()
            written = 0
    if session.in_transaction:
        session.commit_transaction()
"""


@dataclass
class MongoStage:
    """A replica set of one beside the stage's PostgreSQL."""

    stage: Stage
    server: MongoServer
    client: pymongo.MongoClient[dict[str, Any]]
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def fill(self) -> None:
        collection = self.client[HERE][TABLE]
        for first in range(0, self.stage.rows, FILLED):
            last = min(first + FILLED, self.stage.rows)
            collection.insert_many(_document(n) for n in range(first, last))

    def require(self, database: str, name: str = TABLE) -> None:
        found = self.client[database][name].count_documents({})
        if found != self.stage.rows:
            raise measure.FailedError(f"{database}.{name} has {found} documents")

    def script(self, text: str, *more: str) -> Sample:
        arguments = [self.server.uri(), HERE, THERE, TABLE, *more]
        return measure.programs([sys.executable, "-c", text, *arguments], env=self.stage.env)

    def task(self, name: str = TABLE, **job: Any) -> Task:
        file = self.stage.folder / f"bench_mongo_{next(self._numbers)}.yaml"
        made = {
            "name": JOB,
            "type": "warm",
            "source": {"connection": HERE, "table": name},
            "target": {"connection": THERE, "table": name},
            **job,
        }
        # JSON is YAML too.
        file.write_text(json.dumps({"name": file.stem, "jobs": [made]}))
        return Task(self.stage, file, f"run_{file.stem}")


def _document(number: int) -> dict[str, Any]:
    return {
        "_id": number,
        "quantity": number * 7919 % 2_000_000_000,
        "price": number / 100,
        "name": f"customer {number}",
        "note": f"first line of document {number} " * 4,
        "seen": datetime(2010, 1, 1, tzinfo=UTC) + timedelta(seconds=number * 11),
        "tags": ["a", "b", f"tag-{number % 100}"],
        "address": {"street": "x" * 20, "zip": number % 100_000},
    }


def measure_mongodb(stage: Stage, report: Report) -> None:
    with served(stage) as place:
        _copy(place, report)
        _purge(place, report)


@contextmanager
def served(stage: Stage) -> Iterator[MongoStage]:
    with MongoServer() as server, server.connect() as client:
        for name in (HERE, THERE):
            stage.env[f"AIRFLOW_CONN_{name.upper()}"] = server.airflow_uri(name)
        stage.beside.append(server.pid)
        place = MongoStage(stage, server, client)
        place.fill()
        try:
            yield place
        finally:
            stage.beside.remove(server.pid)
            for name in (HERE, THERE):
                del stage.env[f"AIRFLOW_CONN_{name.upper()}"]


def _copy(place: MongoStage, report: Report) -> None:
    rows = place.stage.rows
    ours, two = Contest("copy", rows), Contest("copy, 2 workers", rows)
    out, loop = Contest("$out", rows), Contest("find, then insert_many", rows)
    raw = Contest("find, then insert, as bytes, nothing recorded", rows)
    whole = Contest("the same in transactions of 20,000 documents", rows)

    def empty(act: Callable[[], Sample]) -> Callable[[], Sample]:
        def acted() -> Sample:
            place.client.drop_database(THERE)
            sample = act()
            place.require(THERE)
            return sample

        return acted

    def copied(workers: int) -> Sample:
        task = place.task(check="none", workers=workers)
        task.step("plan")
        return task.step("copy")[0]

    measure.alternate(
        place.stage.rounds,
        [
            (ours, empty(lambda: copied(1))),
            (out, empty(lambda: place.script(OUT))),
            (loop, empty(lambda: place.script(LOOP))),
            (two, empty(lambda: copied(2))),
            (raw, empty(lambda: place.script(RAW, ""))),
            (whole, empty(lambda: place.script(RAW, "whole"))),
        ],
    )
    report.runs("mongodb", ours, two, out, loop, raw, whole)
    report.rates("mongodb", "MongoDB to MongoDB, 1 worker", ours, out, MIN_OF_OUT)
    report.rates("mongodb", "MongoDB to MongoDB, 1 worker", ours, loop, MIN_OF_INSERT_MANY)
    report.rates("mongodb", "MongoDB to MongoDB, 1 worker", ours, raw)
    report.rates("mongodb", "MongoDB to MongoDB, 1 worker", ours, whole)
    report.rates("mongodb", "MongoDB to MongoDB, 2 workers", two, loop)


def _purge(place: MongoStage, report: Report) -> None:
    rows = place.stage.rows
    ours = Contest("purge", rows)

    def proved() -> Sample:
        place.client.drop_database(THERE)
        source = place.client[HERE]
        list(source[TABLE].aggregate([{"$out": EATEN}]))
        task = place.task(EATEN, purge="system", check={"percent": 10})
        for name in ("plan", "copy", "check"):
            task.step(name)
        sample, counts = task.step("purge")
        if counts["rows_purged"] != rows:
            raise measure.FailedError(f"{counts['rows_purged']} documents were purged")
        return sample

    measure.alternate(place.stage.rounds, [(ours, proved)])
    report.runs("mongodb", ours)
