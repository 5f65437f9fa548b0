"""``dsp archive query``: SQL over the rows of archived runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.archive_places import Looked, Where, look, named
from dsp_airflow.engine.errors import ConfigError

if TYPE_CHECKING:
    from dsp_airflow.engine.archive.query import Selected

SHOWN = 100
"""Rows of a table, unless ``--limit`` says otherwise."""


def query(
    sql: str,
    where: Where,
    *,
    runs: Sequence[str],
    limit: int | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """One SELECT over the latest finished run of each job, or those that were named."""
    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other")
    output.stdout()
    from dsp_airflow.engine.archive.query import opened

    selected = _selected(look(where), runs)
    if limit is None and not (as_csv or as_json):
        limit = SHOWN
    with opened(selected) as asked:
        schema, batches = asked.answer(sql)
        rows = _limited(batches, limit)
        if as_csv:
            _write_csv(schema, rows)
        elif as_json:
            _write_json(schema, rows)
        else:
            _show(schema, rows, limit)


def _selected(places: Sequence[Looked], runs: Sequence[str]) -> list[Selected]:
    from dsp_airflow.engine.archive.listing import manifest_at
    from dsp_airflow.engine.archive.query import Selected

    if runs and "all" not in runs:
        # One that was named twice is read once.
        named_ones = {at.folder: at for run in runs for _, at in named(places, run)}
        return [Selected(at, manifest_at(at)) for at in named_ones.values()]
    found: list[Selected] = []
    for looked in places:
        finished = [at for at in looked.runs if at.manifest is not None]
        if not runs and looked.job is not None:
            # All are of this job, the youngest first; of a bare place only manifests tell.
            finished = finished[:1]
        found += [Selected(at, manifest_at(at)) for at in finished]
    if not found:
        labels = ", ".join(looked.place.label for looked in places)
        raise ConfigError(f"no run in {labels} is finished yet, so there is nothing to query")
    if runs:
        return found
    latest: dict[str, Selected] = {}
    for one in found:
        latest.setdefault(one.manifest.job, one)
    return list(latest.values())


def _limited(batches: Iterator[Any], limit: int | None) -> Iterator[Any]:
    """As many rows as are asked for, and not one more read from the archive than needed."""
    left = limit
    while left is None or left > 0:
        batch = next(batches, None)
        if batch is None:
            return
        if left is not None:
            batch = batch.slice(0, left)
            left -= batch.num_rows
        yield batch


# What is told


def _show(schema: Any, batches: Iterator[Any], limit: int | None) -> None:
    rows = [row for batch in batches for row in zip(*map(_texts, batch.columns), strict=True)]
    numbers = [field.name for field in schema if _is_number(field.type)]
    title = f"{len(rows):,} rows"
    if len(rows) == limit:
        title = f"the first {title}; --limit says how many"
    output.console().print(output.table(title, schema.names, rows, right=numbers))


def _write_csv(schema: Any, batches: Iterator[Any]) -> None:
    """As in the archive's own CSV: NULL is an empty cell, an empty text is ``""``."""
    out = output.stdout()
    out.write(",".join(map(_quoted, schema.names)) + "\n")
    bare = [_is_number(field.type) for field in schema]
    for batch in batches:
        for row in zip(*map(_texts, batch.columns), strict=True):
            cells = zip(row, bare, strict=True)
            out.write(",".join(_cell(text, is_bare) for text, is_bare in cells) + "\n")
    out.flush()


def _cell(text: str | None, bare: bool) -> str:
    if text is None:
        return ""
    return text if bare else _quoted(text)


def _write_json(schema: Any, batches: Iterator[Any]) -> None:
    """One document, written as the rows come."""
    out = output.stdout()
    names = json.dumps(schema.names, ensure_ascii=False)
    out.write(f'{{"columns": {names}, "rows": [')
    between = "\n"
    for batch in batches:
        for row in zip(*map(_values, batch.columns), strict=True):
            out.write(between + json.dumps(row, ensure_ascii=False))
            between = ",\n"
    out.write("\n]}\n")
    out.flush()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


# Values


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _texts(column: Any) -> list[str | None]:
    """Each value in words; ``None`` for NULL."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return _texts(column.storage)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        plain = pc.cast(column.cast(pa.timestamp(kind.unit)), pa.string()).to_pylist()
        return [None if text is None else f"{text}Z" for text in plain]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if value is None else value.hex() for value in column.to_pylist()]
    if pa.types.is_nested(kind):
        return [
            None if value is None else json.dumps(value, ensure_ascii=False, default=_plain)
            for value in column.to_pylist()
        ]
    if pa.types.is_dictionary(kind):
        return _texts(column.dictionary_decode())
    if pa.types.is_interval(kind) or pa.types.is_duration(kind):
        return [None if value is None else str(value) for value in column.to_pylist()]
    texts: list[str | None] = pc.cast(column, pa.string()).to_pylist()
    return texts


def _values(column: Any) -> list[object]:
    """For JSON: integers, finite floats, truth values and lists as such, all else as texts."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return list(column.to_pylist())
    texts = _texts(column)
    if pa.types.is_floating(kind):
        return [None if text is None else _number(text) for text in texts]
    if pa.types.is_nested(kind):
        return [None if text is None else json.loads(text) for text in texts]
    return list(texts)


def _number(text: str) -> object:
    value = float(text)
    return value if math.isfinite(value) else text


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
