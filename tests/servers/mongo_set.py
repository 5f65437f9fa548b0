"""A MongoDB replica set of three servers, whose primary may step down or crash."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import pymongo
from pymongo.errors import AutoReconnect, OperationFailure

from dsp_airflow.demo.mongo import REPLICA_SET, ROOT, MongoServer
from dsp_airflow.demo.process import HOST, START_SECONDS, ServerError

MEMBERS = 3
SETTINGS = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}
"""Somebody else takes over within a second or two."""


class MongoSet:
    """Three servers, each with all data. `root` logs in with `password`."""

    def __init__(self, parameters: Mapping[str, str | int] | None = None) -> None:
        self.members = [
            MongoServer(parameters=parameters, cache=0.25, initiated=False) for _ in range(MEMBERS)
        ]
        for member in self.members:
            member.key = self.members[0].key
        self.password = self.members[0].password
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            for member in self.members:
                self._stack.enter_context(member)
                # One that is asked to end would first look for somebody to take over.
                self._stack.callback(member.kill)
            self._initiate()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def uri(self, database: str = "") -> str:
        """Return what MongoClient connects with."""
        hosts = ",".join(f"{HOST}:{member.port}" for member in self.members)
        return (
            f"mongodb://{ROOT}:{quote(self.password, safe='')}@{hosts}/{quote(database, safe='')}"
            f"?authSource=admin&replicaSet={REPLICA_SET}"
        )

    def airflow_uri(self, database: str = "") -> str:
        """Return an Airflow connection."""
        return self.uri(database).replace("mongodb://", "mongo://", 1)

    def connect(self, **changed: Any) -> pymongo.MongoClient[dict[str, Any]]:
        """Return a client of root. The caller closes it."""
        return pymongo.MongoClient(self.uri(), **{"serverSelectionTimeoutMS": 20_000, **changed})

    @property
    def version(self) -> str:
        """As in 6.0.5."""
        return self.members[0].version

    def primary(self) -> MongoServer:
        """The member that is written to at this moment."""
        with self.connect() as client:
            client.admin.command("ping")
            found = client.address
        return next(m for m in self.members if found == (HOST, m.port))

    def step_down(self) -> None:
        """Makes the primary a secondary, and waits for another primary."""
        before = self.primary()
        with self.connect(retryWrites=False) as client:
            try:
                client.admin.command({"replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 4})
            except AutoReconnect:
                pass  # Older servers answer by closing the connection.
            except OperationFailure as error:
                raise ServerError(f"the primary does not step down: {error}") from error
        self._await_other(before)

    def kill_primary(self) -> MongoServer:
        """Crashes the primary, waits for another one, and returns the one that crashed."""
        before = self.primary()
        before.kill()
        self._await_other(before)
        return before

    @contextmanager
    def alone(self) -> Iterator[MongoServer]:
        """The primary, while nobody hears of what is written to it; at the end it has crashed.

        It takes writes for a second, until it sees that it is alone.
        """
        before = self.primary()
        others = [member for member in self.members if member is not before]
        # Stopped ones would still find in their sockets what came meanwhile.
        for member in others:
            member.kill()
        try:
            yield before
        finally:
            before.kill()
            for member in others:
                member.restart()
        self._await_other(before)

    def _await_other(self, before: MongoServer) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.primary() is before:
            if time.monotonic() > deadline:
                raise ServerError("no other member became the primary")
            time.sleep(0.05)

    def _initiate(self) -> None:
        members = [
            {"_id": n, "host": f"{HOST}:{member.port}"} for n, member in enumerate(self.members)
        ]
        # Only a set that has no user yet may be made by nobody.
        first = self.members[0]
        with first._nobody() as client:
            client.admin.command(
                "replSetInitiate", {"_id": REPLICA_SET, "members": members, "settings": SETTINGS}
            )
            first._await_primary(client)
            client.admin.command(
                "createUser",
                ROOT,
                pwd=self.password,
                roles=["root"],
                writeConcern={"w": MEMBERS},
            )
