"""What the server knows of a collection: its kind, options and indexes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pymongo.errors import OperationFailure

from dsp_airflow.engine.stores.mongodb import keys, names, translate
from dsp_airflow.engine.stores.mongodb.connection import Connection

EXPIRES: Final = "expireAfterSeconds"


@dataclass(frozen=True, slots=True)
class Facts:
    """One collection, or one view."""

    schema: str
    name: str
    kind: str
    """``collection``, ``view`` or ``timeseries``."""
    options: Mapping[str, Any]
    uuid: str
    indexes: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        """The quoted full name."""
        return names.qualified(self.schema, self.name)

    @property
    def capped(self) -> bool:
        """Whether it forgets the oldest documents when it is full."""
        return bool(self.options.get("capped"))

    @property
    def collation(self) -> str | None:
        """How texts in ids are compared; ``None``: byte by byte."""
        found = self.options.get("collation")
        return None if not found or found.get("locale") == "simple" else keys.dump(found)

    @property
    def expiring(self) -> list[str]:
        """Names of the indexes that delete documents by themselves.

        A clustered collection has its age as an option: no index of it tells that.
        """
        named = [str(index["name"]) for index in self.indexes if EXPIRES in index]
        clustered = self.options.get("clusteredIndex")
        if EXPIRES in self.options and isinstance(clustered, Mapping):
            named.append(str(clustered.get("name", "_id_")))
        return named


def facts(connection: Connection, table: str) -> Facts | None:
    """What is known of it; ``None`` when there is nothing of this name."""
    schema, name = connection.split(table)
    base = connection.base(schema)
    found = next(iter(base.list_collections(filter={"name": name})), None)
    if found is None:
        return None
    kind = str(found.get("type", "collection"))
    return Facts(
        schema=schema,
        name=name,
        kind=kind,
        options=found.get("options", {}),
        uuid=str(found.get("info", {}).get("uuid", "")),
        indexes=() if kind == "view" else _indexes(connection, table),
    )


def _indexes(connection: Connection, table: str) -> tuple[Mapping[str, Any], ...]:
    try:
        return tuple(connection.collection(table).list_indexes())
    except OperationFailure as error:
        if translate.code(error) != translate.MISSING:
            raise
        # It was dropped a moment ago.
        return ()
