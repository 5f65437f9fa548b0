"""The rows of an archived file as DuckDB sees them: canonical texts, some columns, some rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from dsp_airflow.engine.archive import duck
from dsp_airflow.engine.archive.formats import File, format_of
from dsp_airflow.engine.model import Key

CHOSEN: Final = "dsp_chosen"
"""The rows, which can be read once; their columns are called ``t0``, ``t1`` and so on."""
AMONG: Final = "dsp_among"


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a file takes part.

    ``columns`` are places among the file's own, those of the key first; ``None`` means all, in
    their order. ``keys`` are the canonical texts of the ``width`` key columns of the rows that
    take part; ``None`` means all rows.
    """

    width: int
    columns: tuple[int, ...] | None = None
    keys: Sequence[Key] | None = None


@contextmanager
def chosen_rows(file: File, choice: Choice) -> Iterator[tuple[Any, list[str]]]:
    """A connection that sees them as ``CHOSEN``, and the names of its columns."""
    known = format_of(file.format)
    texts = known.texts(file.forms)
    if choice.columns is not None:
        texts = [texts[n] for n in choice.columns]
    names = [f"t{n}" for n in range(len(texts))]
    columns = ", ".join(f"{text} AS {name}" for text, name in zip(texts, names, strict=True))
    with duck.over(file.batches(), known.rows_schema(file.forms), file.label) as connection:
        rows = f"SELECT {columns} FROM {duck.ROWS}"  # noqa: S608
        if choice.keys is not None:
            connection.register(AMONG, key_table(choice.keys, choice.width))
            key = ", ".join(names[: choice.width])
            rows = f"SELECT * FROM ({rows}) WHERE ({key}) IN (SELECT * FROM {AMONG})"  # noqa: S608
        connection.execute(f"CREATE TEMPORARY VIEW {CHOSEN} AS {rows}")
        yield connection, names


def key_table(keys: Sequence[Key], width: int) -> Any:
    """Keys as an Arrow table of texts, a column ``k<n>`` for each part."""
    arrays = [pa.array([key[n] for key in keys], pa.string()) for n in range(width)]
    return pa.Table.from_arrays(arrays, names=[f"k{n}" for n in range(width)])
