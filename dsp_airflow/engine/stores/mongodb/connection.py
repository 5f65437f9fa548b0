"""One login, and what its server can do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, cast

import pymongo
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mongodb import names, raw
from dsp_airflow.engine.stores.mongodb.raw import Query

Kind: TypeAlias = Literal["replica set", "sharded cluster", "standalone"]
Client: TypeAlias = "pymongo.MongoClient[dict[str, Any]]"
MAJORITY: Final = WriteConcern(w="majority")
SNAPSHOT: Final = ReadConcern("snapshot")
EXISTS: Final = 48
BATCH: Final = 2_000
"""Documents asked for at once: what came before is written meanwhile, and the memory of such a
reply is used again for the next. The server sends at most 16 MiB of them."""


@dataclass(slots=True)
class Connection:
    """A client that one thread works with.

    ``view`` is the snapshot, or the transaction, that reads happen in while one is open.
    ``after`` is a session whose writes all other reads have to see: a primary that was elected a
    moment ago would answer with what a majority had before them.
    """

    client: Client
    database: str
    kind: Kind
    options: SessionOptions
    name: str
    view: ClientSession | None = None
    after: ClientSession | None = None

    @property
    def transactions(self) -> bool:
        """Whether several documents can be written at once or not at all."""
        return self.kind != "standalone"

    def split(self, table: str) -> tuple[str, str]:
        """Database and collection of a name."""
        return names.split(table, self.database)

    def base(self, schema: str) -> Database[dict[str, Any]]:
        """A database as it is written to, and read by whoever decides: at the primary."""
        return self.client.get_database(
            schema,
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority") if self.transactions else ReadConcern(),
            write_concern=MAJORITY if self.transactions else WriteConcern(w=1, j=True),
        )

    def collection(self, table: str) -> Collection[dict[str, Any]]:
        """See ``base``."""
        schema, name = self.split(table)
        return self.base(schema)[name]

    def _read(self, table: str, session: ClientSession | None) -> Collection[dict[str, Any]]:
        if session is None or session is self.after or session.in_transaction:
            return self.collection(table)
        # A copy may read from a secondary, if the connection says so.
        schema, name = self.split(table)
        return self.client.get_database(schema, read_concern=ReadConcern())[name]

    def begin(self, session: ClientSession) -> None:
        """Opens a transaction: one snapshot, and a commit that a majority has acknowledged."""
        session.start_transaction(
            read_concern=SNAPSHOT,
            write_concern=MAJORITY,
            read_preference=ReadPreference.PRIMARY,
        )

    def commit(self, session: ClientSession) -> None:
        """Commits. Where that fails the transaction is over, so that a retry need not wait."""
        try:
            session.commit_transaction()
        except PyMongoError:
            # The driver cannot take back what may have come through; the server can what has not.
            self.end_session(session.session_id)
            raise

    @property
    def election(self) -> object:
        """Which one made the primary that the driver knows; another one, another history."""
        known = self.client.topology_description.server_descriptions().values()
        return next((server.election_id for server in known if server.is_writable), None)

    def elected(self) -> object:
        """As ``election``, asked at this moment."""
        return self.client.admin.command("hello").get("electionId")

    def end_session(self, identity: Mapping[str, Any]) -> None:
        """Ends a session of this login, and what it has open; what has committed stays."""
        with contextlib.suppress(PyMongoError):
            # Where that cannot be told, the server ends a transaction by itself, later.
            self.client.admin.command("killSessions", [dict(identity)])

    def end_view(self) -> None:
        """Ends the snapshot or the transaction that reads happen in."""
        view, self.view = self.view, None
        if view is not None:
            view.end_session()

    def make(self, table: str) -> None:
        """Makes a collection of ours unless it is there."""
        schema, name = self.split(table)
        try:
            self.base(schema).command("create", name)
        except OperationFailure as error:
            if error.code != EXISTS:
                raise

    @property
    def limit(self) -> int | None:
        """Milliseconds that one read may take."""
        statement = self.options.statement
        return None if statement is None else max(1, statement // timedelta(milliseconds=1))

    def find(
        self,
        table: str,
        query: Query,
        *,
        session: ClientSession | None = None,
        projection: Query | None = None,
        ordered: bool = True,
        order: Mapping[str, int] | None = None,
        skip: int = 0,
        limit: int = 0,
        descending: bool = False,
        required: bool = True,
        at_once: int = BATCH,
    ) -> Iterator[bytes]:
        """Buffers of matching documents, as bytes, in the order of their ids if ``ordered``.

        ``order`` names other fields to sort by. Of a collection that is not ``required`` nothing
        is read where it is missing. ``at_once`` is how many documents a buffer has at most.
        """
        session = session or self.view or self.after
        if ordered and order is None:
            order = {"_id": -1 if descending else 1}
        cursor: Any = self._read(table, session).find_raw_batches(
            query,
            projection,
            session=session,
            sort=None if order is None else list(order.items()),
            skip=skip,
            limit=limit,
            batch_size=0 if limit else at_once,
            max_time_ms=self.limit,
            allow_disk_use=None if order is None else True,
        )
        nothing = True
        with cursor:
            for batch in cursor:
                if batch:
                    nothing = False
                    yield bytes(batch)
        if nothing and required and not limit:
            self._require(table)

    def insert(self, table: str, buffer: bytes, session: ClientSession | None) -> int:
        """Inserts the documents of a buffer, in their order, by one command; how many it took.

        The driver's ``insert_many`` says the same to the server after it has looked at each
        document, which costs more than all the rest. Raises ``BulkWriteError`` as that does. The
        driver never sends a command of ours twice.
        """
        collection = self.collection(table)
        command: dict[str, Any] = {
            "insert": collection.name,
            "documents": [raw.Documents(buffer)],
            "ordered": True,
        }
        if session is None:
            command["writeConcern"] = collection.write_concern.document
        done = collection.database.command(command, session=session)
        unsafe = done.get("writeConcernError")
        if done.get("writeErrors") or unsafe:
            raise BulkWriteError({**done, "writeConcernErrors": [unsafe] if unsafe else []})
        return int(done["n"])

    def _require(self, table: str) -> None:
        """To a server a collection that is not there is an empty one."""
        schema, name = self.split(table)
        named = self.base(schema).list_collection_names(
            filter={"name": name}, authorizedCollections=True
        )
        if not named:
            raise ConfigError(f"{schema}.{name} is gone")

    def aggregate(
        self, table: str, pipeline: list[Query], *, session: ClientSession | None = None
    ) -> list[dict[str, Any]]:
        """The few documents that a pipeline makes."""
        session = session or self.view or self.after
        more: dict[str, Any] = {} if self.limit is None else {"maxTimeMS": self.limit}
        with self._read(table, session).aggregate(
            pipeline, session=session, allowDiskUse=True, **more
        ) as cursor:
            return list(cursor)

    def aggregate_raw(self, table: str, pipeline: list[Query]) -> Iterator[bytes]:
        """What a pipeline makes, as bytes."""
        session = self.view or self.after
        more: dict[str, Any] = {} if self.limit is None else {"maxTimeMS": self.limit}
        with self._read(table, session).aggregate_raw_batches(
            pipeline, session=session, allowDiskUse=True, **more
        ) as cursor:
            for batch in cursor:
                # The driver's types tell of decoded documents, and these are bytes.
                yield from raw.documents(cast("bytes", batch))

    def sample(self, table: str, query: Query, most: int) -> Iterator[bytes]:
        """At most so many matching documents, chosen by chance."""
        pipeline = [{"$match": query}, {"$sample": {"size": most}}]
        with self.collection(table).aggregate_raw_batches(pipeline) as cursor:
            for batch in cursor:
                # The driver's types tell of decoded documents, and these are bytes.
                yield from raw.documents(cast("bytes", batch))

    def count(self, table: str, query: Query, *, session: ClientSession | None = None) -> int:
        """How many documents match."""
        found = self.aggregate(table, [{"$match": query}, {"$count": "n"}], session=session)
        return int(found[0]["n"]) if found else 0
