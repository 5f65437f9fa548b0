"""What is wrong with a task file, and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in one file.

    `line` and `column` count from 1 and point at the offending text. `path` names the place in
    the file's own terms, for example `jobs[0].check.percent`; it is empty for the whole file.
    `value` is the offending text, `suggestion` the nearest valid one.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    value: str | None = None
    suggestion: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: "
        path = f"{self.path}: " if self.path else ""
        value = f" (got {_quoted(self.value)})" if self.value is not None else ""
        hint = f"; did you mean {_quoted(self.suggestion)}?" if self.suggestion else ""
        return f"{place}{path}{self.message}{value}{hint}"


class ConfigProblems(ValueError):
    """Everything that is wrong with one task file and the files it includes.

    `problems` holds them in the order of files and lines; `str()` gives one line for each.
    """

    problems: tuple[Problem, ...]

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems), key=_order))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def nearest(text: object, choices: Iterable[str]) -> str | None:
    """The choice most like `text`, or None when none is near. Case does not matter."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = get_close_matches(str(text).lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def listed(choices: Sequence[str]) -> str:
    """`a, b or c`."""
    *head, last = choices
    return f"{', '.join(head)} or {last}" if head else last


def _order(problem: Problem) -> tuple[str, int, int, str, str]:
    return problem.file, problem.line, problem.column, problem.path, problem.message


def _quoted(text: str) -> str:
    shown = text if len(text) <= 80 else text[:77] + "..."
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown)
    return f"'{shown}'"
