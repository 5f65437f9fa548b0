"""Cutting a bucket into batches: by the number of files, and by their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dsp_airflow.engine.model import Batch, BatchSize, Key, KeyRange, Projection
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import bucket_of
from dsp_airflow.engine.stores.mongodb.gridfs.contents import Damaged, documents, parted
from dsp_airflow.engine.stores.mongodb.gridfs.files import File

MOST_BYTES: Final = 32 * 1024 * 1024
"""Of the files that are written, or deleted, in one transaction; a larger one has its own batch."""

MOST_FILES: Final = 10_000
"""Their ids have to fit into a query."""


def split(
    connection: Connection, what: Projection, size: BatchSize
) -> tuple[Sequence[Batch], int, list[Damaged]]:
    """See ``ports.Splits``; and the files that are not whole, in the ranges and not counted."""
    bucket = bucket_of(connection, what.table)
    files = min(size.rows, MOST_FILES)
    most = MOST_BYTES if size.bytes is None else min(size.bytes, MOST_BYTES)
    batches: list[Batch] = []
    after: Key | None = None
    rows = filled = total = 0
    last: File | None = None
    end: Key | None = None
    damaged: list[Damaged] = []
    for group in documents(connection, what, None):
        end = group[-1].key
        whole, broken = parted(connection, bucket, group)
        damaged += broken
        for file in whole:
            if last is not None and (rows >= files or filled + file.size > most):
                batches.append(Batch(len(batches) + 1, KeyRange(after, last.key), rows))
                after, rows, filled = last.key, 0, 0
            rows, filled, total, last = rows + 1, filled + file.size, total + file.size, file
    if last is not None:
        batches.append(Batch(len(batches) + 1, KeyRange(after, end), rows))
    return batches, total, damaged
