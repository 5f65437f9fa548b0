"""The rows of an archived file as DuckDB sees them: canonical texts, some columns, some rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from dsp_airflow.engine.archive import duck
from dsp_airflow.engine.archive.formats import File, format_of
from dsp_airflow.engine.archive.rereading import reread
from dsp_airflow.engine.model import Key, LogicalType

CHOSEN: Final = "dsp_chosen"
"""The rows, which can be read once; their columns are called ``t0``, ``t1`` and so on."""
AMONG: Final = "dsp_among"


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a file takes part.

    ``columns`` are places among the file's own, those of the key first; ``None`` means all, in
    their order. ``keys`` are the canonical texts of the ``width`` key columns of the rows that
    take part; ``None`` means all rows. ``kinds`` are the types that the columns' canonical texts
    are to be of (``archive.rereading``); ``None`` means their own.
    """

    width: int
    columns: tuple[int, ...] | None = None
    keys: Sequence[Key] | None = None
    kinds: Sequence[LogicalType] | None = None


@contextmanager
def chosen_rows(file: File, choice: Choice) -> Iterator[tuple[Any, list[str]]]:
    """A connection that sees them as ``CHOSEN``, and the names of its columns."""
    names, query = _query(file, choice)
    schema = format_of(file.format).rows_schema(file.forms)
    with duck.over(file.batches(), schema, file.label) as connection:
        for name, table in _tables(choice).items():
            connection.register(name, table)
        connection.execute(f"CREATE TEMPORARY VIEW {CHOSEN} AS {query}")
        yield connection, names


def chosen_batches(file: File, choice: Choice) -> Iterator[Any]:
    """The same as record batches, in the file's order, none much larger than the file's own."""
    _, query = _query(file, choice)
    return duck.each(file.batches(), query, file.label, **_tables(choice))


def _query(file: File, choice: Choice) -> tuple[list[str], str]:
    texts = format_of(file.format).texts(file.forms)
    kinds = [form.kind for form in file.forms]
    if choice.columns is not None:
        texts = [texts[n] for n in choice.columns]
        kinds = [kinds[n] for n in choice.columns]
    if choice.kinds is not None:
        each = zip(texts, kinds, choice.kinds, strict=True)
        texts = [reread(text, mine, other) for text, mine, other in each]
    names = [f"t{n}" for n in range(len(texts))]
    columns = ", ".join(f"{text} AS {name}" for text, name in zip(texts, names, strict=True))
    rows = f"SELECT {columns} FROM {duck.ROWS}"  # noqa: S608
    if choice.keys is not None:
        key = ", ".join(names[: choice.width])
        rows = f"SELECT * FROM ({rows}) WHERE ({key}) IN (SELECT * FROM {AMONG})"  # noqa: S608
    return names, rows


def _tables(choice: Choice) -> dict[str, Any]:
    return {} if choice.keys is None else {AMONG: key_table(choice.keys, choice.width)}


def key_table(keys: Sequence[Key], width: int) -> Any:
    """Keys as an Arrow table of texts, a column ``k<n>`` for each part."""
    arrays = [pa.array([key[n] for key in keys], pa.string()) for n in range(width)]
    return pa.Table.from_arrays(arrays, names=[f"k{n}" for n in range(width)])
