"""SQL over the rows of archived runs: DuckDB, in memory, which reads these rows and nothing else.

An object is downloaded when a scan comes to it, proved to be what was uploaded, and removed
when its rows are through; so a query needs room for as many objects as it reads at once.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import pyarrow as pa

from dsp_airflow.engine.archive import duck, typed
from dsp_airflow.engine.archive.listing import FoundRun
from dsp_airflow.engine.archive.manifest import ArchivedBatch, Manifest
from dsp_airflow.engine.archive.objects import Expected, fetched, file_of
from dsp_airflow.engine.errors import ConfigError, DspError, Mismatch, Transient
from dsp_airflow.engine.model import ArchivedObject
from dsp_airflow.engine.stores.s3 import Gone

ARCHIVE: Final = "archive"
"""The view's name, where all rows are of one job."""
RUN: Final = "__dsp_run"
"""Column of the run that a row was archived by."""
MEMORY: Final = "1GiB"
DISK: Final = "16GiB"
"""For what a query sorts or groups beyond that, in the folder for temporary files."""
BATCH: Final = 256
"""Rows that are handed out at once: few, as a row may be large."""
_SETTINGS: Final = (
    f"SET memory_limit = '{MEMORY}'",
    f"SET max_temp_directory_size = '{DISK}'",
    "SET enable_external_access = false",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)
_OF_THE_TEXT: Final = (
    duckdb.ParserException,
    duckdb.SyntaxException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.PermissionException,
    duckdb.NotSupportedError,
)
"""Errors that tell of the statement, and of no value."""
_QUOTED: Final = re.compile(r"['\"].*['\"]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Selected:
    """A run to be queried."""

    at: FoundRun
    manifest: Manifest


@contextmanager
def opened(runs: Sequence[Selected]) -> Iterator[Query]:
    """The rows of these runs as the view ``archive``; of several jobs, a view for each by name."""
    jobs: dict[str, list[Selected]] = {}
    for run in runs:
        jobs.setdefault(run.manifest.job, []).append(run)
    streams: list[_Rows] = []
    with (
        tempfile.TemporaryDirectory(prefix="dsp-query-") as folder,
        duck.connect() as connection,
    ):
        for job, some in jobs.items():
            parts = []
            for run in some:
                stream = _Rows(run)
                name = f"dsp_rows_{len(streams)}"
                connection.register(name, stream)
                streams.append(stream)
                parts.append(_select(name, run))
            body = " UNION ALL BY NAME ".join(parts)
            views = {job, ARCHIVE} if len(jobs) == 1 else {job}
            for view in sorted(views):
                connection.execute(f"CREATE TEMP VIEW {duck.quoted(view)} AS {body}")
        connection.execute(f"SET temp_directory = {duck.literal(folder)}")
        for setting in _SETTINGS:
            connection.execute(setting)
        yield Query(connection, streams, tuple(jobs))


def _select(name: str, run: Selected) -> str:
    columns = typed.columns(run.manifest.file_format, run.manifest.forms())
    columns.append(f"{duck.literal(run.at.run)} AS {duck.quoted(RUN)}")
    return f"SELECT {', '.join(columns)} FROM {name}"  # noqa: S608


class _Rows:
    """All rows of a run as an Arrow stream, from the first object on each time it is asked for."""

    def __init__(self, run: Selected) -> None:
        self.run = run
        self.error: BaseException | None = None
        self._expected = Expected(run.manifest, run.at)
        self._schema = typed.schema(run.manifest.file_format, self._expected.forms)

    def __arrow_c_schema__(self) -> Any:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[Any]:
        try:
            for batch in self.run.manifest.batches:
                for stored in batch.objects:
                    yield from self._object(batch, stored)
        except GeneratorExit:
            raise
        except BaseException as error:
            # DuckDB would pass on its text only.
            self.error = error
            raise

    def _object(self, batch: ArchivedBatch, stored: ArchivedObject) -> Iterator[Any]:
        bucket = self.run.at.bucket
        label = bucket.label(stored.key)
        remedy = "dsp archive verify tells what is wrong"
        why = self._expected.out_of_place(batch, stored)
        if why:
            raise Mismatch(f"the manifest of run {self.run.at.run} {why}; {remedy}")
        try:
            with fetched(bucket, stored.key) as found:
                if not found.is_as(stored):
                    raise Mismatch(f"{label} is not what was uploaded; {remedy}")
                yield from typed.rows(file_of(found, bucket, self._expected, stored))
        except Gone:
            raise Mismatch(f"{label} is missing; {remedy}") from None


@dataclass(frozen=True)
class Query:
    """Where one statement after the other can be asked."""

    connection: Any
    streams: Sequence[_Rows]
    jobs: Sequence[str]

    def answer(self, sql: str) -> tuple[Any, Iterator[Any]]:
        """The Arrow schema and the record batches of one SELECT, read as they are asked for.

        Raises ``ConfigError`` for SQL that is wrong or does anything but read.
        """
        with self._translating():
            self._require_select(sql)
            reader = self.connection.sql(sql).to_arrow_reader(BATCH)
        return reader.schema, self._read(reader)

    def _read(self, reader: Any) -> Iterator[Any]:
        while True:
            with self._translating():
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
            yield batch

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            for stream in self.streams:
                if stream.error is not None:
                    raise stream.error from None
            raise self._told(error) from error

    def _require_select(self, sql: str) -> None:
        statements = self.connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            view = ARCHIVE if len(self.jobs) == 1 else duck.quoted(self.jobs[0])
            raise ConfigError(f"one statement that reads is allowed, a SELECT over {view}")

    def _told(self, error: Exception) -> DspError:
        text = str(error).strip()
        if isinstance(error, duckdb.OutOfMemoryException):
            return Transient(
                f"the query needs more than {MEMORY} of memory and {DISK} of disk: {_line(text)}"
            )
        if isinstance(error, _OF_THE_TEXT):
            if isinstance(error, duckdb.CatalogException):
                views = ARCHIVE if len(self.jobs) == 1 else ", ".join(map(duck.quoted, self.jobs))
                text += f"\nThere is: {views}"
            return ConfigError(text)
        # It may quote what it stumbled over, and values stand in no message.
        return ConfigError(_line(_QUOTED.sub("'...'", text)))


def _line(text: str) -> str:
    return text.split("\n", 1)[0]
