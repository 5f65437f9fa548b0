"""Import errors of task files, each under its own name.

Airflow knows one import error per Python file, and hides every DAG of a file that has one.
All task files are read by one Python file, so an error is handed to the importer as the
error of the YAML file it is in. See docs/adr/0002-import-errors.md.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from airflow.dag_processing.importers.base import DagImportError, DagImportResult

from dsp_airflow.config.errors import ConfigProblems

log = logging.getLogger(__name__)


def report(failed: Sequence[ConfigProblems]) -> None:
    """Makes each file's problems one import error that names file, line and column.

    Outside of an import by Airflow they are logged.
    """
    if not failed:
        return
    result, root = _import_in_progress()
    for problems in failed:
        if result is None:
            log.error("%s", problems)
            continue
        first = problems.problems[0]
        result.errors.append(
            DagImportError(
                file_path=_relative(first.file, root),
                message=str(problems),
                error_type="task file",
                line_number=first.line,
                column_number=first.column,
                suggestion=first.suggestion,
            )
        )


def _import_in_progress() -> tuple[DagImportResult | None, Path | None]:
    """The importer's result that is being filled further up the stack, and the bundle's root.

    Airflow passes it to nobody, so it is looked up where it is: a local variable.
    """
    frame: FrameType | None = sys._getframe(1)
    result: DagImportResult | None = None
    while frame is not None:
        names = frame.f_locals
        if result is None and isinstance(names.get("result"), DagImportResult):
            result = names["result"]
        if result is not None and "bundle_path" in names:
            root = names["bundle_path"]
            return result, Path(root) if root else None
        frame = frame.f_back
    return result, None


def _relative(file: str, root: Path | None) -> str:
    """As Airflow shows files of a bundle."""
    path = Path(file).absolute()
    return str(path.relative_to(root)) if root and path.is_relative_to(root) else str(path)
