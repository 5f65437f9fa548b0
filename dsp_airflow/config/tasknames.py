"""Which file holds which task, without validating them."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

SUFFIXES = (".yaml", ".yml")


def task_files(folder: str | os.PathLike[str]) -> list[Path]:
    """All YAML files below a folder in the order of their paths; hidden ones are left out."""
    root = Path(folder)
    found = (
        Path(parent, name)
        for parent, folders, names in os.walk(root)
        if not _prune(folders)
        for name in names
        if name.endswith(SUFFIXES) and not name.startswith(".")
    )
    return sorted(found, key=lambda path: path.as_posix())


def task_names(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Name of each task to its file; of two files with one name, the first in order of paths."""
    names: dict[str, Path] = {}
    for path in task_files(folder):
        name = name_in(path)
        if name is not None:
            names.setdefault(name, path)
    return names


def name_in(path: Path) -> str | None:
    """The text under the key `name` at the top of a file, or None. Reads no further than that."""
    try:
        with path.open("rb") as stream:
            return _first_name(yaml.CSafeLoader(stream))
    except (OSError, yaml.YAMLError, RecursionError):
        # Who loads the file says what is wrong with it; here it has no name.
        return None


def _first_name(loader: yaml.CSafeLoader) -> str | None:
    depth = 0
    key: str | None = None
    while loader.check_event():
        event = loader.get_event()
        if depth == 1 and isinstance(event, yaml.ScalarEvent):
            if key == "name":
                return str(event.value)
            key = str(event.value) if key is None else None
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            key = None
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent) and depth == 1:
            key = None
    return None


def _prune(folders: list[str]) -> bool:
    """Takes hidden folders out of the walk."""
    folders[:] = [folder for folder in folders if not folder.startswith(".")]
    return False
