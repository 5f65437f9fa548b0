"""What columns of files hold, told of record batches as they are read."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from dsp_airflow.engine.errors import Refused

# What lies outside wraps where ADBC counts from another year, and stays outside.
BOUNDS: Final = {
    "date": (-719_162, 2_932_896),
    "time": (0, 86_399_999_999),
    "timestamp": (-62_135_596_800_000_000, 253_402_300_799_999_999),
    "timestamptz": (-62_135_596_800_000_000, 253_402_300_799_999_999),
}
"""First and last value that a column holds, in days or microseconds."""


def outside(column: Any, kind: str) -> bool:
    """Whether a date or time of the column is beyond what columns of this logical type hold."""
    first, last = BOUNDS[kind]
    numbers = column.view(pa.int32() if pa.types.is_date(column.type) else pa.int64())
    found = pc.min_max(numbers)
    low, high = found["min"].as_py(), found["max"].as_py()
    return low is not None and not first <= low <= high <= last


def too_large(size: int, max_row_size: int) -> Refused:
    """For a row of that many bytes."""
    return Refused(
        f"a row of {size:,} bytes is larger than max_row_size ({max_row_size:,}); raise "
        "max_row_size, or leave the column out"
    )
