"""A case: a folder with a schema and its rows, where they go, and what is to come of it.

Nothing of it is code. ``README.md`` beside this file says what stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
SERVERS = ("mariadb", "mysql", "pg15", "pg18")
_ONLY = re.compile(r"--\s*(?:only (?P<only>\w+)|(?P<all>all servers))\s*")


@dataclass(frozen=True)
class Way:
    """From one server to another; ``s3``: into an archive, and back from there."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source} to {self.target}"

    @property
    def alike(self) -> bool:
        """Whether rows come to stand on a server like the one that they are from."""
        return self.target in (self.source, "s3")


@dataclass(frozen=True)
class Case:
    """One folder."""

    name: str
    folder: Path
    ways: tuple[Way, ...]
    soak: frozenset[Way]
    """Those of them that would make every run too long."""
    tables: tuple[str, ...]
    """In the order in which they are copied; they are purged the other way round."""
    _jobs: Mapping[str, Any]
    _expected: Mapping[str, Any]

    def job(self, table: str, way: Way) -> dict[str, Any]:
        """What the job of a table says besides its names."""
        return _said(self._jobs, table, way)

    def expected(self, table: str, way: Way) -> dict[str, Any]:
        """What becomes of a table: ``rows``, ``purged``, ``warnings``, ``refused``, ``differs``."""
        return _said(self._expected, table, way)

    def seen(self, way: Way) -> dict[str, list[list[Any]]]:
        """Queries at the target and their rows, each value as its text."""
        found: dict[str, list[list[Any]]] = self._expected.get(f"seen in {way.target}") or {}
        return found

    def statements(self, name: str, server: str) -> list[str]:
        """Those of a file of SQL that are for this server."""
        path = self.folder / name
        if not path.exists():
            return []
        kept, on = [], True
        for line in path.read_text().splitlines():
            mark = _ONLY.fullmatch(line.strip())
            if mark is not None:
                on = mark["all"] is not None or mark["only"] == server.rstrip("0123456789")
            elif on and not line.lstrip().startswith("--"):
                kept.append(line)
        return [s.strip() for s in re.split(r";\s*$", "\n".join(kept), flags=re.M) if s.strip()]


def _said(file: Mapping[str, Any], table: str, way: Way) -> dict[str, Any]:
    """Of every way, of those to one server, of this one: the last word counts."""
    found: dict[str, Any] = {}
    for of in ("tables", f"to {way.target}", str(way)):
        found |= (file.get(of) or {}).get(table) or {}
    return found


def case_of(folder: Path) -> Case:
    """Reads a folder; ``ValueError`` for what it does not say rightly."""
    jobs = yaml.safe_load((folder / "case.yaml").read_text())
    expected = yaml.safe_load((folder / "expect.yaml").read_text())
    if set(jobs["tables"]) != set(expected["tables"]):
        raise ValueError(f"{folder.name}: case.yaml and expect.yaml name different tables")
    refuse_unknown(folder, jobs, expected)
    soak = [_way(folder, text) for text in jobs.get("soak", [])]
    ways = tuple([_way(folder, text) for text in jobs["ways"]] + soak)
    return Case(folder.name, folder, ways, frozenset(soak), tuple(jobs["tables"]), jobs, expected)


OUTCOMES = frozenset(
    {"rows", "purged", "warnings", "refused", "stopped", "differs", "changes"},
)


def refuse_unknown(folder: Path, jobs: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """``ValueError`` for words that would be passed over, and with them what they ask for."""
    ways = [*jobs["ways"], *jobs.get("soak", [])]
    ends = {way.partition(" to ")[2] for way in ways}
    some = {"tables", *ways, *(f"to {end}" for end in ends)}
    names = set(jobs) - some - {"about", "ways", "soak"}
    names |= set(expected) - some - {f"seen in {end}" for end in ends}
    for of in some & set(expected):
        names |= set(expected[of]) - set(jobs["tables"])
        names |= {word for told in expected[of].values() for word in set(told) - OUTCOMES}
    if names:
        raise ValueError(f"{folder.name}: unknown: {', '.join(sorted(names))}")


def _way(folder: Path, text: str) -> Way:
    source, _, target = text.partition(" to ")
    if source not in SERVERS or target not in (*SERVERS, "s3"):
        raise ValueError(f"{folder.name}: {text!r} is no way from one server to another")
    return Way(source, target)


def cases() -> list[Case]:
    """All folders."""
    return [case_of(path.parent) for path in sorted(FOLDER.glob("*/case.yaml"))]
