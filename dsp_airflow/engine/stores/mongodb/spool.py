"""One view of a batch on a server that has no snapshots: what was read once, kept in a file.

A batch that is digested and then read again would be read at two moments, and a document that
changes in between would look as if it had been copied wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import IO

from dsp_airflow.engine.model import Digest, KeyRange, Projection
from dsp_airflow.engine.stores.mongodb import proof
from dsp_airflow.engine.stores.mongodb.connection import Connection


class Spool:
    """The batches of one view, each read once. ``close`` removes them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._files: dict[tuple[Projection, KeyRange], tuple[IO[bytes], list[int]]] = {}
        self._stack = ExitStack()

    def digest(self, what: Projection, within: KeyRange) -> Digest:
        """Reads the batch, keeps it and digests it."""
        file = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        sizes: list[int] = []
        self._files[what, within] = file, sizes

        def kept() -> Iterator[bytes]:
            for buffer in proof.found(self._connection, what, within, None):
                file.write(buffer)
                sizes.append(len(buffer))
                yield buffer

        return proof.digest_of(kept())

    def buffers(self, what: Projection, within: KeyRange) -> Generator[bytes, None, None]:
        """What was digested, or what stands there where nothing was."""
        if (what, within) not in self._files:
            yield from proof.found(self._connection, what, within, None)
            return
        file, sizes = self._files[what, within]
        file.seek(0)
        for size in sizes:
            yield file.read(size)

    def close(self) -> None:
        """Removes the files."""
        self._stack.close()
