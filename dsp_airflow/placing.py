"""Where in a task file a plan found something wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsp_airflow.config import nodes
from dsp_airflow.config.findings import Finding, Location
from dsp_airflow.config.includes import resolve_includes
from dsp_airflow.config.messages import place
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.rules import WrongRule


@contextmanager
def placing(file: str | Path, job: str) -> Iterator[None]:
    """Adds file, line and column to what a plan says of a rule of the job."""
    try:
        yield
    except WrongRule as error:
        at = place_in(Path(file), job, error.place)
        if at is None:
            raise
        raise ConfigError(f"{at}: {error}") from error


def place_in(file: Path, job: str, location: Location) -> str | None:
    """``file:line:column`` of a place below a job; ``None`` where the file has none."""
    if not file.is_file():
        return None
    root, _ = nodes.read(file, str(file))
    if root is None or not isinstance(root.value, dict) or "jobs" not in root.value:
        return None
    resolve_includes(root, file)
    entries = root.value["jobs"].value
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.value.get("name") if isinstance(entry.value, dict) else None
        if name is not None and name.value == job:
            found = place(root, Finding(("jobs", number, *location), ""))
            return f"{found.file}:{found.line}:{found.column}"
    return None
