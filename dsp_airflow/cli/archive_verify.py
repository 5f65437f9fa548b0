"""``dsp archive verify``: whether what is archived still is what was written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.archive_places import Looked, Where, look, named
from dsp_airflow.cli.errors import worst
from dsp_airflow.engine.errors import ConfigError, DspError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dsp_airflow.engine.archive.listing import FoundRun
    from dsp_airflow.engine.archive.verdict import Finding, Verdict
    from dsp_airflow.engine.archive.verify import RecordOf
    from dsp_airflow.engine.model import ArchivedObject
    from dsp_airflow.state.database import StateDatabase


def verify(run: str | None, where: Where, *, quick: bool, as_json: bool) -> None:
    """One run or all; a line for everything that is wrong, and exit code 3."""
    output.stdout()
    places = look(where)
    chosen = _chosen(places, run)
    verdicts: list[Verdict] = []
    with _record(places) as record, _progress(chosen) as tell:
        from dsp_airflow.engine.archive.verify import verify as verified

        for looked, runs in chosen:
            verdicts += verified(runs, _record_of(record, looked), quick=quick, tell=tell)
    if as_json:
        found = [_document(verdict) for verdict in verdicts]
        output.write_json({"quick": quick, "runs": found})
    else:
        for verdict in verdicts:
            _show(verdict, quick=quick)
    findings = [finding for verdict in verdicts for finding in verdict.findings]
    if findings:
        raise worst([_error(findings, kind) for kind in {f.error for f in findings}])


def _chosen(places: Sequence[Looked], run: str | None) -> list[tuple[Looked, Sequence[FoundRun]]]:
    if run is None:
        return [(looked, looked.runs) for looked in places]
    return [(looked, [at]) for looked, at in named(places, run)]


def _error(findings: Sequence[Finding], kind: type[DspError]) -> DspError:
    objects = {f.object for f in findings}
    return kind(f"{len(findings):,} findings about {len(objects):,} objects")


# What the state database knows


@contextmanager
def _record(places: Sequence[Looked]) -> Iterator[StateDatabase | None]:
    """The state database, where there is one that can be asked; a bare place is none of its."""
    if all(looked.task is None for looked in places):
        yield None
        return
    database = _state()
    if database is None:
        yield None
        return
    with database:
        yield database


def _state() -> StateDatabase | None:
    from dsp_airflow.state.database import open_state
    from dsp_airflow.state.location import label, state_url

    try:
        url = state_url()
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            raise ConfigError(f"{label(url)} does not exist")
        return open_state()
    except DspError as error:
        output.note(f"not compared with the state database: {error}", "WARNING")
        return None


def _record_of(database: StateDatabase | None, looked: Looked) -> RecordOf:
    if database is None or looked.task is None or looked.job is None:
        return lambda _at, _manifest: None
    from dsp_airflow.archives import record_of

    return partial(record_of, database, looked.task, looked.job)


# What is told


def _document(verdict: Verdict) -> dict[str, Any]:
    manifest = verdict.manifest
    return {
        "run": verdict.at.run,
        "task": manifest.task if manifest else None,
        "job": manifest.job if manifest else None,
        "place": verdict.at.label(),
        "state": verdict.state,
        "recorded": verdict.recorded,
        "objects": verdict.objects,
        "bytes": verdict.size,
        "rows": verdict.rows,
        "digests": verdict.digests,
        "findings": [
            {name: value for name, value in asdict(finding).items() if name != "error"}
            for finding in verdict.findings
        ],
        "notes": verdict.notes,
    }


def _show(verdict: Verdict, *, quick: bool) -> None:
    for finding in verdict.findings:
        output.write(str(finding))
    how = (
        "looked at, not read (--quick)"
        if quick
        else f"read: {verdict.size:,} bytes, {verdict.rows:,} rows, {verdict.digests:,} digests"
    )
    by = "the manifest and the state database" if verdict.recorded else "the manifest"
    line = f"{verdict.at.label()}: {verdict.state}"
    if verdict.manifest is not None:
        line += f", by {by}; {verdict.objects:,} objects {how}"
    output.write(line)
    for note in verdict.notes:
        output.write(f"  note: {note}")


@contextmanager
def _progress(
    chosen: Sequence[tuple[Looked, Sequence[FoundRun]]],
) -> Iterator[Callable[[ArchivedObject], None]]:
    """A bar on a terminal's standard error; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("verify {task.fields[key]}"),
        *(BarColumn(bar_width=16), DownloadColumn(), TimeRemainingColumn()),
    )
    total = sum(at.size for _, runs in chosen for at in runs)
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task("", total=total, key="")

        def tell(stored: ArchivedObject) -> None:
            progress.update(task, advance=stored.size, key=stored.key.rpartition("/")[2])

        yield tell
