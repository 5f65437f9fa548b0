"""What archiving asks of a session whose tables are buckets of files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

from dsp_airflow.engine.model import Key, KeyRange, Projection
from dsp_airflow.engine.ports import Store, Stream


@runtime_checkable
class ReadsFiles(Protocol):
    """A session that reads files into archives."""

    def files(self, what: Projection, within: KeyRange, bare: Collection[Key]) -> Stream:
        """The range's files in the wire format of buckets; of the ``bare`` ones without chunks."""
        ...

    def namesakes(
        self, what: Projection, within: KeyRange, *, newest: bool, upto: Key | None
    ) -> Mapping[Key, str]:
        """Files of the range whose name another one takes, or that have none, and why.

        Of the whole files that match, up to this key, the one with the first upload date has the
        name, or the ``newest``; of several such the one with the first id, or the last.
        """
        ...

    def count_namesakes(self, what: Projection) -> int:
        """About how many of all matching files have to give way to another one, or have no name."""
        ...


@runtime_checkable
class HoldsBuckets(Protocol):
    """A store that has files, too."""

    def buckets(self) -> Store:
        """The same endpoint, whose tables are buckets."""
        ...


@runtime_checkable
class DropsBuckets(Protocol):
    """A session whose tables are buckets, which it can drop."""

    def drop_bucket(self, table: str) -> None:
        """Drops its chunks, then the documents of its files; one that is gone is none.

        In that order: until the end the bucket is found by its documents.
        """
        ...
