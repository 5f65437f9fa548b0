"""``dsp archive list`` and ``dsp archive show``: which runs are archived, and what one holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.archive_places import Looked, Where, look, named
from dsp_airflow.engine.errors import Mismatch

if TYPE_CHECKING:
    from rich.console import Console

    from dsp_airflow.engine.archive.listing import Opened
    from dsp_airflow.engine.archive.manifest import Manifest
    from dsp_airflow.engine.archive.owner import Owner

_BATCHES = 20
"""How many of them a person is shown."""
_OBJECTS = 3
"""Of each."""


# list


def list_runs(where: Where, *, limit: int, as_json: bool) -> None:
    """The youngest runs of every place; exits with 3 when a manifest is not right."""
    output.stdout()
    from dsp_airflow.engine.archive.listing import opened

    places = look(where)
    rows: list[dict[str, Any]] = []
    for looked in places:
        owners: dict[str, Owner | None] = {}
        rows += [_row(one, looked, owners) for one in opened(looked.runs[:limit])]
    total = sum(len(looked.runs) for looked in places)
    if as_json:
        output.write_json({"total": total, "runs": rows})
    elif not rows:
        output.write(f"no runs yet in {', '.join(looked.place.label for looked in places)}")
    else:
        _show_list(rows, total)
    damaged = [row["problem"] for row in rows if row["problem"]]
    if damaged:
        raise Mismatch("; ".join(damaged))


def _row(one: Opened, looked: Looked, owners: dict[str, Owner | None]) -> dict[str, Any]:
    from dsp_airflow.engine.archive.owner import owner_of

    at, manifest = one.at, one.manifest
    who: Manifest | Owner | None = manifest
    if who is None:
        if at.prefix not in owners:
            owners[at.prefix] = owner_of(at.bucket, at.archive)
        who = owners[at.prefix]
    written = at.manifest or at.last
    table = getattr(who, "source_table", None) or getattr(who, "table", None)
    return {
        "run": at.run,
        "task": who.task if who else looked.task,
        "job": who.job if who else looked.job,
        "table": table,
        "state": one.state,
        "rows": manifest.rows if manifest else None,
        "batches": len(manifest.batches) if manifest else at.objects,
        "bytes": at.size,
        "format": manifest.file_format if manifest else None,
        "compression": manifest.compression if manifest else None,
        "written_at": written.modified if written else None,
        "manifest": at.manifest is not None,
        "receipts": at.receipts is not None,
        "place": at.label(),
        "problem": one.problem or None,
    }


def _show_list(rows: Sequence[dict[str, Any]], total: int) -> None:
    keys = (
        *("run", "task", "job", "table", "state", "rows", "batches", "bytes", "format"),
        *("written_at", "receipts", "place"),
    )
    heads = [{"written_at": "written (UTC)"}.get(key, key) for key in keys]
    title = "" if len(rows) >= total else f"{len(rows)} of {total:,} runs; --limit shows more"
    shown = output.console()
    cells = [[row[key] for key in keys] for row in rows]
    shown.print(output.table(title, heads, cells, right=("rows", "batches", "bytes")))


# show


def show(run: str, where: Where, *, as_json: bool) -> None:
    """Every manifest of the run; a job, or an attempt at it, has one each."""
    output.stdout()
    from dsp_airflow.engine.archive.listing import manifest_at

    told = [(at, manifest_at(at), _receipts(at)) for _, at in named(look(where), run)]
    if as_json:
        documents = [
            {
                "place": at.label(),
                "written_at": at.manifest.modified if at.manifest else None,
                "manifest": _document(manifest),
                "receipts": receipts,
            }
            for at, manifest, receipts in told
        ]
        output.write_json({"runs": documents})
        return
    shown = output.console()
    for at, manifest, receipts in told:
        written = at.manifest.modified if at.manifest else None
        _show(shown, manifest, receipts, at.label(), written)


def _receipts(at: Any) -> dict[str, Any] | None:
    """The object as it is; ``None`` when there is none."""
    from dsp_airflow.engine.archive.verify_receipts import entries_of
    from dsp_airflow.engine.stores.s3 import Gone

    try:
        data = at.bucket.read(at.receipts_key)
    except Gone:
        return None
    try:
        entries_of(data, at.run)
    except Mismatch as error:
        raise Mismatch(f"{at.label(at.receipts_key)} {error}") from error
    found: dict[str, Any] = json.loads(data)
    return found


def _document(manifest: Manifest) -> dict[str, Any]:
    from dsp_airflow.engine.archive.manifest import manifest_bytes

    found: dict[str, Any] = json.loads(manifest_bytes(manifest))
    return found


def _show(
    shown: Console,
    manifest: Manifest,
    receipts: dict[str, Any] | None,
    place: str,
    written: object,
) -> None:
    proved = {entry["batch"] for entry in receipts["receipts"]} if receipts else set()
    facts = [
        ("task, job", f"{manifest.task}, {manifest.job}"),
        ("source", f"{manifest.source_table} in {manifest.source_system} {manifest.source}"),
        ("place", place),
        ("written (UTC)", written),
        ("rows", manifest.rows),
        ("batches", len(manifest.batches)),
        ("bytes", sum(o.size for b in manifest.batches for o in b.objects)),
        *([("files", _of_files(manifest))] if manifest.of_files else []),
        ("format", f"{manifest.file_format}, compression {manifest.compression}"),
        *[("partition", f"{p.name} = {p.expression}") for p in manifest.partitions],
        ("key", ", ".join(manifest.key)),
        ("filter", manifest.filter or "all rows"),
        *((f"variable {n}", _variable(v)) for n, v in manifest.variables.items()),
        ("receipts", f"{len(proved):,} of {len(manifest.batches):,} batches were read back"),
        ("definition", manifest.definition),
    ]
    shown.print(output.table(f"Run {manifest.run}", ("", " "), facts))
    columns = [
        (c.name, str(c.type), c.native, c.nullable, f"as its {c.held}") for c in manifest.columns
    ]
    told = ("column", "type", "in the source", "nullable", "held")
    shown.print(output.table("Columns", told, columns))
    batches = [
        (
            batch.number,
            batch.rows,
            _some([_place(manifest, o.key) for o in batch.objects]),
            sum(o.size for o in batch.objects),
            "" if batch.after is None else ", ".join(batch.after),
            "" if batch.upto is None else ", ".join(batch.upto),
            batch.digest is not None,
            batch.number in proved,
            _some([o.version or "" for o in batch.objects]),
        )
        for batch in manifest.batches[:_BATCHES]
    ]
    heads = ("batch", "rows", "object", "bytes", "after key", "up to key", "digest", "receipt")
    more = len(manifest.batches) - len(batches)
    title = "Batches" + (f" (and {more:,} more; --json gives all)" if more else "")
    numbers = ("batch", "rows", "bytes")
    shown.print(output.table(title, (*heads, "version"), batches, right=numbers))
    for statement in manifest.ddl:
        shown.print(f"Restored as: {statement}")


def _of_files(manifest: Manifest) -> str:
    """The rows are those of indexes, and their bytes too."""
    return f"an object for each, named by {manifest.name_mode}; the batches are their indexes"


def _place(manifest: Manifest, key: str) -> str:
    """The object's name, after the folders of its partition."""
    below = key.removeprefix(f"{manifest.prefix}/")
    return below.replace(f"run={manifest.run}/", "", 1)


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _OBJECTS
    return ", ".join(texts[:_OBJECTS]) + (f" and {more:,} more" if more > 0 else "")


def _variable(value: Any) -> object:
    """Moments stand in a manifest with their kind."""
    return next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
