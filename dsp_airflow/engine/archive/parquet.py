"""Parquet: each value at its own type. Row groups are bounded by rows and by bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dsp_airflow.engine.archive.forms import EXACT, Form, schema_of
from dsp_airflow.engine.archive.prepared import prepared, prepared_schema
from dsp_airflow.engine.archive.prepared import texts_of as texts
from dsp_airflow.engine.errors import Mismatch

EXACT_APART = True
GROUP_ROWS: Final = 100_000
GROUP_BYTES: Final = 16 * 1024 * 1024
READ_ROWS: Final = 2_048
READ_BYTES: Final = 4 * 1024 * 1024
LARGE: Final = 256 * 1024
"""Bytes of a row, uncompressed, that is read by itself."""
BUFFER: Final = 1024 * 1024
"""Bytes read of a column at once."""
SAMPLE_ROWS: Final = 4_096
REPEATED: Final = 4
"""How often values occur, on average, that are worth a dictionary."""
_CODECS: Final = {"zstd": "zstd", "gzip": "gzip", "none": "none"}
_LEVELS: Final = {"zstd": 1, "gzip": 6}

rows_schema = prepared_schema
__all__ = ["EXACT_APART", "held", "read", "rows_schema", "texts", "write"]


def write(
    sink: BinaryIO, batches: Iterable[Any], forms: Sequence[Form], compression: str
) -> tuple[int, int]:
    """See ``formats.Format``."""
    rows = 0
    writer: Any = None
    try:
        for group in _groups(batches):
            if writer is None:
                writer = _writer(sink, group, compression)
            writer.write_table(group, row_group_size=max(1, group.num_rows))
            rows += group.num_rows
        if writer is None:
            writer = _writer(sink, schema_of(forms, exact=False).empty_table(), compression)
    finally:
        if writer is not None:
            writer.close()
    return rows, 0


def _writer(sink: BinaryIO, first: Any, compression: str) -> Any:
    """``first`` is the first row group."""
    return pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"),
        first.schema,
        use_dictionary=_repeating(first.slice(0, SAMPLE_ROWS)),
        compression=_CODECS[compression],
        compression_level=_LEVELS.get(compression),
        write_page_checksum=True,
    )


def _repeating(sample: Any) -> list[str]:
    """Columns whose values repeat. Of others a dictionary takes a third of all time, and room."""
    return [
        field.name
        for field, column in zip(sample.schema, sample.columns, strict=True)
        if not pa.types.is_nested(field.type) and _repeats(column)
    ]


def _repeats(column: Any) -> bool:
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array(
            [chunk.storage for chunk in column.chunks], column.type.storage_type
        )
    rows = len(column) - column.null_count
    return bool(REPEATED * pc.count_distinct(column, mode="only_valid").as_py() <= rows)


def _groups(batches: Iterable[Any]) -> Iterator[Any]:
    gathered: list[Any] = []
    rows = size = 0
    for batch in batches:
        if gathered and (rows + batch.num_rows > GROUP_ROWS or size + batch.nbytes > GROUP_BYTES):
            yield pa.Table.from_batches(gathered)
            gathered, rows, size = [], 0, 0
        gathered.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if gathered:
        yield pa.Table.from_batches(gathered)


def read(path: Path, forms: Sequence[Form], compression: str, largest: int) -> Iterator[Any]:
    """See ``formats.Format``."""
    yield from prepared(held(path, forms, compression, largest), forms)


def held(path: Path, forms: Sequence[Form], compression: str, largest: int) -> Iterator[Any]:  # noqa: ARG001
    """See ``formats.Format``."""
    with pq.ParquetFile(path, page_checksum_verification=True, buffer_size=BUFFER) as file:
        found = file.schema_arrow
        exact = found.get_field_index(EXACT) >= 0
        if found.remove_metadata() != schema_of(forms, exact=exact).remove_metadata():
            raise Mismatch(f"the columns are {', '.join(_named(found))}, not those of the archive")
        # More threads would take memory, and nothing is faster: digesting takes longer.
        rows = _read_rows(file)
        for number in range(file.num_row_groups):
            # Asked for all groups at once, the reader keeps every one of them until the end.
            yield from file.iter_batches(rows, row_groups=[number], use_threads=False)


def _read_rows(file: Any) -> int:
    """As many rows at once as some megabytes hold."""
    meta = file.metadata
    size = sum(meta.row_group(n).total_byte_size for n in range(meta.num_row_groups))
    each = max(1, size // max(1, meta.num_rows))
    # A large row is many times itself on its way through texts.
    return 1 if each > LARGE else max(1, min(READ_ROWS, READ_BYTES // each))


def _named(schema: Any) -> list[str]:
    return [f"{field.name} {field.type}" for field in schema]
