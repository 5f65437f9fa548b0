"""Databases on MongoDB."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database
from typing_extensions import TypeVar

from dsp_airflow.demo.mongo import MongoServer
from tests.servers.mongo_set import MongoSet

_numbers = itertools.count(1)
Document = dict[str, Any]
S = TypeVar("S", bound=MongoServer | MongoSet, default=MongoServer)


@dataclass(frozen=True)
class MongoDatabase(Generic[S]):
    """One database of a running server, seen by root."""

    server: S
    name: str
    client: pymongo.MongoClient[Document]

    @property
    def uri(self) -> str:
        """An Airflow connection to it."""
        return self.server.airflow_uri(self.name)

    @property
    def database(self) -> Database[Document]:
        return self.client[self.name]

    def __getitem__(self, collection: str) -> Collection[Document]:
        return self.database[collection]

    def raw(self, collection: str) -> list[bytes]:
        """The documents as they are stored, in the order of their ids."""
        found: Any = self[collection].find_raw_batches({}, hint={"_id": 1}, sort={"_id": 1})
        return [document for batch in found for document in documents(batch)]

    def insert_raw(self, collection: str, given: list[bytes]) -> None:
        """Inserts documents byte by byte."""
        if given:
            self[collection].insert_many([RawBSONDocument(document) for document in given])


def documents(buffer: bytes) -> Iterator[bytes]:
    """The documents that follow each other in a buffer."""
    at = 0
    while at < len(buffer):
        size = int.from_bytes(buffer[at : at + 4], "little")
        yield buffer[at : at + size]
        at += size


@contextmanager
def fresh_mongo_database(
    server: S, client: pymongo.MongoClient[Document], prefix: str = "test"
) -> Iterator[MongoDatabase[S]]:
    """An empty database with a name of its own, dropped at the end."""
    name = f"{prefix}_{next(_numbers)}"
    try:
        yield MongoDatabase(server, name, client)
    finally:
        client.drop_database(name)
