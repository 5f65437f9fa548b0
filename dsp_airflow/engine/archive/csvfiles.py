"""CSV: canonical texts, UTF-8, a header; NULL is an empty cell, an empty text is ``""``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv

from dsp_airflow.engine.archive import textual
from dsp_airflow.engine.archive.compress import compressed, opened
from dsp_airflow.engine.archive.forms import Form
from dsp_airflow.engine.archive.textual import rows_schema, texts
from dsp_airflow.engine.errors import Mismatch

EXACT_APART = False
BLOCK: Final = 1024 * 1024
__all__ = ["EXACT_APART", "held", "read", "rows_schema", "texts", "write"]


def write(
    sink: BinaryIO, batches: Iterable[Any], forms: Sequence[Form], compression: str
) -> tuple[int, int]:
    """See ``formats.Format``."""
    schema = pa.schema([pa.field(form.name, pa.string()) for form in forms])
    options = pcsv.WriteOptions(quoting_style="all_valid")
    rows = largest = 0
    with (
        compressed(sink, compression) as out,
        pcsv.CSVWriter(out, schema, write_options=options) as writer,
    ):
        for batch in textual.rendered(batches, forms, textual.readable(forms)):
            rows += batch.num_rows
            largest = max(largest, largest_row(batch.columns))
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
    return rows, largest


def largest_row(columns: Sequence[Any]) -> int:
    """Octets of the largest row of columns of texts."""
    sizes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        sizes += np.diff(textual.ends_of(column))
    return int(sizes.max(initial=0))


def read(path: Path, forms: Sequence[Form], compression: str, largest: int) -> Iterator[Any]:
    """See ``formats.Format``."""
    names = [f"c{n}" for n in range(len(forms))]
    # Every quote of a text is doubled; no row may be larger than a block. Several are read ahead.
    block = max(BLOCK, 2 * largest + 8 * len(forms) + 1024)
    with opened(path, compression) as source:
        reader = pcsv.open_csv(
            source,
            read_options=pcsv.ReadOptions(use_threads=False, block_size=block),
            parse_options=pcsv.ParseOptions(newlines_in_values=True),
            convert_options=pcsv.ConvertOptions(
                column_types=dict.fromkeys((form.name for form in forms), pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        if reader.schema.names != [form.name for form in forms]:
            raise Mismatch(
                f"the columns are {', '.join(reader.schema.names)}, not those of the archive"
            )
        schema = rows_schema(forms)
        for batch in reader:
            columns = [_cells(batch.column(n), form) for n, form in enumerate(forms)]
            yield pa.RecordBatch.from_arrays(columns, names=names).cast(schema)


held = read


def _cells(column: Any, form: Form) -> Any:
    if not textual.is_list(form):
        return column
    return pa.array(
        [
            None if text is None else textual.canonical(textual.parsed(text), form)
            for text in column.to_pylist()
        ],
        pa.string(),
    )
