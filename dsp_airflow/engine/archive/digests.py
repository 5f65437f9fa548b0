"""What rows a file of an archive holds: digest, row hashes, canonical texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dsp_airflow.engine.archive import duck
from dsp_airflow.engine.archive.formats import File, format_of
from dsp_airflow.engine.canon.duckdb import duckdb_digest_md5
from dsp_airflow.engine.model import Digest

METHOD = "md5"


def digest(file: File) -> Digest:
    """Of all its rows; equal to the source's md5 digest of the same rows."""
    with _rows(file) as (connection, texts):
        ((rows, total),) = connection.execute(
            f"SELECT count(*), {duckdb_digest_md5(texts)} FROM {duck.ROWS}"
        ).fetchall()
    return Digest(int(rows), int(total), METHOD)


@contextmanager
def _rows(file: File) -> Iterator[tuple[Any, Sequence[str]]]:
    chosen = format_of(file.format)
    with duck.over(file.batches(), chosen.rows_schema(file.forms), file.label) as connection:
        yield connection, chosen.texts(file.forms)
