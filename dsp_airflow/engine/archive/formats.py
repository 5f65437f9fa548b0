"""The file formats of archives, by name. What each writes, it reads back to the last bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import pyarrow as pa

from dsp_airflow.engine.archive import csvfiles, jsonlines, parquet
from dsp_airflow.engine.archive.forms import Form
from dsp_airflow.engine.errors import Mismatch, Transient

_ENDINGS: Final[Mapping[str, str]] = {"zstd": ".zst", "gzip": ".gz", "none": ""}


class Format(Protocol):
    """One file format."""

    EXACT_APART: bool
    """Values that a column cannot hold stand in a column of their own, if there are any."""

    def write(
        self, sink: BinaryIO, batches: Iterable[Any], forms: Sequence[Form], compression: str
    ) -> tuple[int, int]:
        """Writes all batches; returns the rows, and the bytes of the largest one.

        What is larger than a few record batches is never held.
        """
        ...

    def read(
        self, path: Path, forms: Sequence[Form], compression: str, largest: int
    ) -> Iterator[Any]:
        """The rows as record batches of ``rows_schema``."""
        ...

    def held(
        self, path: Path, forms: Sequence[Form], compression: str, largest: int
    ) -> Iterator[Any]:
        """The rows as they stand there: values under their columns' names, or texts as ``read``."""
        ...

    def rows_schema(self, forms: Sequence[Form]) -> Any:
        """Of what ``read`` yields: columns for the SQL of ``texts``."""
        ...

    def texts(self, forms: Sequence[Form]) -> list[str]:
        """SQL of DuckDB over these columns: every column's canonical text."""
        ...


_FORMATS: Final[Mapping[str, Any]] = {
    "parquet": parquet,
    "csv": csvfiles,
    "jsonl": jsonlines,
}


def format_of(name: str) -> Format:
    """The format of that name; ``Mismatch`` for one that this version does not know."""
    found = _FORMATS.get(name)
    if found is None:
        raise Mismatch(f"unknown format {name!r}; this version reads {', '.join(_FORMATS)}")
    chosen: Format = found
    return chosen


def extension(name: str, compression: str) -> str:
    """Of an object: ``parquet``, ``csv.gz``, ``jsonl.zst``. ``Mismatch`` for an unknown one."""
    ending = _ENDINGS.get(compression)
    if ending is None:
        raise Mismatch(
            f"unknown compression {compression!r}; this version reads {', '.join(_ENDINGS)}"
        )
    return name if name == "parquet" else name + ending


@dataclass(frozen=True, slots=True)
class File:
    """A file of an archive on this machine. ``label`` names the object it was, for messages."""

    path: Path
    label: str
    format: str
    compression: str
    forms: tuple[Form, ...]
    largest: int = 0

    def batches(self) -> Iterator[Any]:
        """See ``Format.read``. Raises ``Mismatch`` when it is not what was written."""
        with self._reading():
            yield from format_of(self.format).read(
                self.path, self.forms, self.compression, self.largest
            )

    def held(self) -> Iterator[Any]:
        """See ``Format.held``. Raises ``Mismatch`` when it is not what was written."""
        with self._reading():
            yield from format_of(self.format).held(
                self.path, self.forms, self.compression, self.largest
            )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, ValueError, EOFError) as error:
            raise Mismatch(
                f"{self.label} is not a {self.format} file as written: {error}"
            ) from error
        except OSError as error:
            if error.errno is None:
                raise Mismatch(
                    f"{self.label} is not a {self.format} file as written: {error}"
                ) from error
            raise Transient(f"{self.label}: {error}") from error
