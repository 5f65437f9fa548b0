"""What task files said when they were last read: pages ask for all of them every few seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from dsp_airflow.config.errors import ConfigProblems
from dsp_airflow.config.tasknames import name_in, task_files

if TYPE_CHECKING:
    from dsp_airflow.config.tasks import Task

T = TypeVar("T")
MOST = 10_000
"""Files that are remembered."""
_SETTLED_NS = 2_000_000_000
_INCLUDES = b"file"
"""A file without this word names no other one."""

_Stamp: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Said(Generic[T]):
    stamp: _Stamp
    value: T


class KnownFiles:
    """The names and tasks in files, each read again only once the file has changed.

    A file that was written a moment ago is not remembered, as it may change again without showing
    it; nor is the task of one that names other files, which may change by themselves.
    """

    def __init__(self) -> None:
        self._names: dict[Path, _Said[str | None]] = {}
        self._tasks: dict[Path, _Said[Task | ConfigProblems]] = {}

    def names(self, folder: str | os.PathLike[str]) -> dict[str, Path]:
        """As ``tasknames.task_names``."""
        found: dict[str, Path] = {}
        for path in task_files(folder):
            name = _remembered(self._names, path, name_in)
            if name is not None:
                found.setdefault(name, path)
        return found

    def task(self, path: Path) -> Task:
        """As ``loading.load_task``."""
        known = _remembered(self._tasks, path, _loaded, alone=_stands_alone)
        if isinstance(known, ConfigProblems):
            raise ConfigProblems(known.problems)
        return known


def _remembered(
    known: dict[Path, _Said[T]],
    path: Path,
    read: Callable[[Path], T],
    alone: Callable[[Path], bool] = lambda _: True,
) -> T:
    """What ``read`` made of the file; both may be at work in several threads, and one is kept."""
    stamp = _stamp(path)
    said = known.get(path)
    if said is not None and said.stamp == stamp:
        return said.value
    value = read(path)
    # As long as it is the same file afterwards, this is what it says.
    if stamp is not None and _is_settled(stamp) and alone(path) and _stamp(path) == stamp:
        if len(known) >= MOST:
            known.clear()
        known[path] = _Said(stamp, value)
    return value


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None  # whoever reads it says what is wrong
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _is_settled(stamp: _Stamp) -> bool:
    return time.time_ns() - max(stamp[0], stamp[1]) > _SETTLED_NS


def _loaded(path: Path) -> Task | ConfigProblems:
    from dsp_airflow.config.loading import load_task

    try:
        return load_task(path)
    except ConfigProblems as problems:
        return problems


def _stands_alone(path: Path) -> bool:
    try:
        return _INCLUDES not in path.read_bytes()
    except OSError:
        return False


FILES = KnownFiles()
"""Those of this process."""
