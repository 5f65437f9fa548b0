"""A collection built beside another one, and renamed over it by one command.

The command drops the old collection in the same step. What it did is known by the new one's
identity, which is written down before and stays when a collection is renamed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from pymongo.errors import OperationFailure

from dsp_airflow.config.scalars import format_duration
from dsp_airflow.engine.errors import Contended, Refused
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.mongodb import catalog, keys, markers, names, privileges, translate
from dsp_airflow.engine.stores.mongodb.connection import EXISTS, Connection
from dsp_airflow.engine.stores.mongodb.facts import EXPIRES, Facts, facts
from dsp_airflow.engine.stores.mongodb.refusals import lacking
from dsp_airflow.engine.swap import Replacement, gone

TURN: Final = timedelta(seconds=1)
"""How long one wait for the collection may be: whoever comes after us waits behind us."""
BETWEEN: Final = 0.5
"""Seconds at most until the next one."""
ACTIONS: Final = (
    *("find", "insert", "update", "createCollection", "createIndex"),
    *("dropCollection", "renameCollectionSameDB"),
)
"""On the database: the names of what is built are not known before."""
_TOLD: Final = frozenset({"v", "ns", "background", "prepareUnique"})
"""What an index is said to be, and is not made with."""
_TOO_SLOW: Final = frozenset({24, 50})


class MongoSwaps:
    """See ``swap.Swaps``. Driver errors are not translated yet.

    ``sign`` keeps who proves by the collection away, and raises where one was let in.
    """

    def __init__(self, connection: Connection, sign: Callable[[str], None]) -> None:
        self.connection = connection
        self._sign = sign

    def refusals(self, what: Projection, *, create: bool) -> list[str]:
        """See ``swap.Swaps``. Views name a collection, and show whichever is called so."""
        schema, _ = self.connection.split(what.table)
        anywhere = names.qualified(schema, privileges.ANY_COLLECTION)
        why = lacking(self.connection, anywhere, ACTIONS)
        if self.connection.kind == "sharded cluster":
            why.append(
                f"{what.label} is on a sharded cluster, where no collection takes another one's "
                "place in one step; use mode: full"
            )
        found = None if create else facts(self.connection, what.table)
        if found is not None and "encryptedFields" in found.options:
            why.append(f"{what.label} has encrypted fields, which are bound to it; use mode: full")
        return why

    def warnings(self, what: Projection) -> list[str]:
        """See ``swap.Swaps``."""
        told = (
            f"who reads {what.label} while it is replaced may be told that his cursor is gone, and "
            "a change stream that it has ended"
        )
        return [told]

    def beside(self, what: Projection) -> list[str]:
        """See ``swap.Swaps``."""
        schema, _ = self.connection.split(what.table)
        base = self.connection.base(schema)
        return base.list_collection_names(filter={"name": {"$regex": "^dsp_"}})

    def build(self, new: Replacement, *, begun: bool) -> None:
        """See ``swap.Swaps``."""
        if facts(self.connection, new.built.table) is not None:
            return
        if begun:
            raise Refused(gone(new))
        name = self._name(new.built)
        old = facts(self.connection, new.target.table)
        if new.create or old is None:
            commands = [keys.parse(text) for text in new.ddl]
            made = [{**command, next(iter(command)): name} for command in commands]
        else:
            made = [{"create": name, **old.options}]
        catalog.create(self.connection, new.built.table, [keys.dump(command) for command in made])
        self.connection.make(new.built.markers)

    def complete(self, new: Replacement) -> None:
        """See ``swap.Swaps``."""
        if facts(self.connection, new.built.table) is None:
            raise Refused(gone(new))
        if not new.create:
            self._make_indexes(new, expiring=False)

    def _make_indexes(self, new: Replacement, *, expiring: bool) -> None:
        old = facts(self.connection, new.target.table)
        wanted = [
            _made(index)
            for index in (() if old is None else old.indexes)
            if index["name"] != "_id_" and (EXPIRES in index) is expiring
        ]
        if wanted:
            base = self._base(new)
            base.command(
                {"createIndexes": self._name(new.built), "indexes": wanted},
                write_concern=base.write_concern,
            )

    def swap(self, new: Replacement) -> None:
        """See ``swap.Swaps``."""
        patience = self.connection.options.lock
        give_up = time.monotonic() + patience.total_seconds()
        if not new.create:
            # Last of all: from now on its oldest documents go.
            self._make_indexes(new, expiring=True)
        built = self._require_alike(new)
        self.connection.collection(new.built.markers).update_one(
            {"_id": _marker(new)}, {"$set": {"outcome": built.uuid}}, upsert=True
        )
        while not self._renamed(new, built):
            if time.monotonic() >= give_up:
                raise Contended(
                    f"{new.target.label}: the lock that a swap takes for a moment was not to be "
                    f"had within {format_duration(patience)} (timeouts.lock): a transaction that "
                    "has used the collection is still open. It is waited for a second at a time, "
                    "so that nobody waits behind it for long"
                )
            time.sleep(random.uniform(0, BETWEEN))  # noqa: S311 - no secret

    def _renamed(self, new: Replacement, built: Facts) -> bool:
        """Whether it was done; not when somebody holds the collection."""
        schema, name = self.connection.split(new.target.table)
        base = self._base(new)
        self._sign(new.target.label)
        try:
            self.connection.client.admin.command(
                {
                    "renameCollection": f"{built.schema}.{built.name}",
                    "to": f"{schema}.{name}",
                    "dropTarget": not new.create,
                    "maxTimeMS": TURN // timedelta(milliseconds=1),
                    "writeConcern": base.write_concern.document,
                }
            )
        except OperationFailure as error:
            if translate.code(error) == EXISTS and new.create:
                raise Refused(
                    f"{new.target.label} came to be since the run was planned; start a new run"
                ) from error
            if translate.code(error) not in _TOO_SLOW:
                raise
            # It may have been done and have waited for other members after that.
            return self.swapped(new)
        return True

    def _require_alike(self, new: Replacement) -> Facts:
        built = facts(self.connection, new.built.table)
        if built is None:
            raise Refused(gone(new))
        old = None if new.create else facts(self.connection, new.target.table)
        if old is not None and _likeness(old) != _likeness(built):
            raise Refused(
                f"{new.target.label} was altered since the new collection was built like it; it is "
                "as it was. Start a new run"
            )
        return built

    def swapped(self, new: Replacement) -> bool:
        """See ``swap.Swaps``."""
        left = self.connection.collection(new.built.markers).find_one({"_id": _marker(new)})
        target = facts(self.connection, new.target.table)
        return left is not None and target is not None and target.uuid == left["outcome"]

    def tidy(self, new: Replacement) -> None:
        """See ``swap.Swaps``. The old collection went with the swap."""
        markers.forget(self.connection, new.built, new.run, new.job)

    def discard(self, table: str) -> None:
        """See ``swap.Swaps``."""
        schema, name = self.connection.split(table)
        self.connection.base(schema).drop_collection(name)

    def _base(self, new: Replacement) -> Any:
        return self.connection.base(self.connection.split(new.target.table)[0])

    def _name(self, what: Projection) -> str:
        return self.connection.split(what.table)[1]


def _made(index: Mapping[str, Any]) -> dict[str, Any]:
    """An index that tells of no collation has none, whatever its collection has."""
    told = {name: value for name, value in index.items() if name not in _TOLD}
    return {"collation": {"locale": "simple"}, **told}


def _likeness(found: Facts) -> str:
    """Options and indexes, to be compared with another collection's."""
    indexes = sorted(keys.dump(_made(index)) for index in found.indexes)
    return keys.dump([found.options, indexes])


def _marker(new: Replacement) -> dict[str, Any]:
    run, job, batch = new.marker
    return {"run": run, "job": job, "batch": batch}
