"""YAML with the place of every key and value.

The composer of PyYAML gives nodes with marks; the values are made here, by the rules of YAML 1.2
where 1.1 differs in ways that bite: `yes`, `on`, `010` and `12:30` without quotes are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from dsp_airflow.config.errors import Problem

# Aliases repeat what they name: ten of ten of ten are a million. A task file needs a few hundred.
MAX_NODES = 100_000
MAX_BYTES = 5_000_000
MAX_DEPTH = 64

# The value of a node whose file could not be read; the problem is reported already.
UNREADABLE = object()

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
# What libyaml says, and what the author can do about it.
_REMEDIES = (
    ("alphabetic or numeric character", "; text that begins with * or & goes in quotes"),
    ("cannot start any token", "; text that begins with such a character goes in quotes"),
    ("end of stream", "; a quote or a bracket that begins here is not closed"),
    ("expected comment or line break", "; text that begins with > or | goes in quotes"),
    ("mapping values are not allowed", "; text that holds ': ' goes in quotes"),
)
_DECIMAL_HEAD = re.compile(r"decimal\(\s*[0-9]+\s*")
_DECIMAL_REST = re.compile(r"[0-9]+\s*\)")
_TRUTH = {"true": True, "false": False}


@dataclass(slots=True)
class Node:
    """A value with its place. `value` is a scalar, a list of nodes, or a dict of nodes.

    `line` and `column` count from 1. `raw` is the text of a scalar as it stands in the file, with
    its quotes. `keys` holds the place of every key of a mapping.
    """

    file: str
    line: int
    column: int
    value: Any
    raw: str = ""
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    def plain(self) -> Any:
        """The value without places: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def place(self, offset: int | None) -> tuple[int, int]:
        """Line and column of a character of a scalar, or of its start where it cannot be told."""
        if offset is None or not isinstance(self.value, str):
            return self.line, self.column
        position = _position_in(self.raw, self.value, offset)
        before = self.raw[:position]
        lines = before.count("\n")
        if not lines:
            return self.line, self.column + len(before)
        return self.line + lines, len(before) - before.rfind("\n")


def read(path: Path, shown: str) -> tuple[Node | None, list[Problem]]:
    """The root node of the only document in a file, and what is wrong with the YAML.

    `shown` names the file in places. There is no node when the text cannot be read at all.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None, [Problem(shown, 1, 1, "", "there is no such file")]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return None, [Problem(shown, 1, 1, "", f"the file cannot be read: {reason}")]
    if len(data) > MAX_BYTES:
        return None, [Problem(shown, 1, 1, "", f"the file is larger than {MAX_BYTES:,} bytes")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        return None, [Problem(shown, line, column, "", "the file must be UTF-8 text")]
    return parse(text, shown)


def parse(text: str, shown: str) -> tuple[Node | None, list[Problem]]:
    """The root node of a text, and what is wrong with the YAML; see `read`."""
    # libyaml counts only \n, \r\n and \r as line ends; the slices below must do the same.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        roots = list(_documents(text))
    except yaml.YAMLError as error:
        return None, [_syntax_problem(error, text, shown)]
    except RecursionError:
        return None, [Problem(shown, 1, 1, "", "the file is nested too deeply")]
    if not roots or roots[0] is None:
        return None, [Problem(shown, 1, 1, "", "the file is empty")]
    if len(roots) > 1:
        mark = roots[1].start_mark if roots[1] else None
        line = mark.line + 1 if mark else 1
        message = "the file holds several documents; put each into a file of its own"
        return None, [Problem(shown, line, 1, "", message)]
    builder = _Builder(text, shown)
    try:
        return builder.build(roots[0], "", 0), builder.problems
    except _TooLargeError as error:
        return None, [Problem(shown, 1, 1, "", str(error))]


class _TooLargeError(Exception):
    pass


def _documents(text: str) -> Iterator[yaml.Node | None]:
    loader = yaml.CSafeLoader(text)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        loader.dispose()


class _Builder:
    def __init__(self, text: str, shown: str) -> None:
        self._lines = text.split("\n")
        self._file = shown
        self._count = 0
        self.problems: list[Problem] = []

    def build(self, node: yaml.Node, path: str, depth: int) -> Node:
        self._count += 1
        if self._count > MAX_NODES:
            raise _TooLargeError(f"the file has more than {MAX_NODES:,} values, aliases included")
        if depth > MAX_DEPTH:
            raise _TooLargeError(f"the file is nested deeper than {MAX_DEPTH} levels")
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if isinstance(node, yaml.MappingNode):
            self._check_tag(node, "map", path)
            result = Node(self._file, line, column, {})
            self._fill(result, node, path, depth)
            return result
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, "seq", path)
            items = [
                self.build(item, f"{path}[{index}]", depth + 1)
                for index, item in enumerate(node.value)
            ]
            return Node(self._file, line, column, items)
        raw = self._slice(node.start_mark, node.end_mark)
        value = self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None
        return Node(self._file, line, column, value, raw)

    def _fill(self, result: Node, node: yaml.MappingNode, path: str, depth: int) -> None:
        for key, value in node.value:
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, path, "a key must be text")
                continue
            name = key.value
            if name == "<<" and key.tag == f"{_TAG}merge":
                message = "merging with << is not accepted; repeat the keys, or use {file: ...}"
                self._problem(key, path, message)
                continue
            inner = f"{path}.{name}" if path else name
            if name in result.keys:
                before = result.keys[name][0]
                self._problem(key, inner, f"is given twice, first in line {before}; keep one")
            child = self.build(value, inner, depth + 1)
            if name not in result.keys:
                result.keys[name] = (line, column)
                result.value[name] = child
        _rejoin_decimals(result)

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        text = node.value
        kind = node.tag.removeprefix(_TAG)
        if node.style in ("'", '"', "|", ">") or kind in ("str", "value", "merge"):
            self._check_tag(node, "str", path, also=("value", "merge"))
            return text
        if kind == "null":
            return None
        make = {"bool": self._truth, "timestamp": self._time}.get(kind)
        if make is not None:
            return make(node, path)
        if kind in ("int", "float"):
            return self._number(node, path)
        self._problem(node, path, "tags are not accepted; remove it", node.tag)
        return text

    def _number(self, node: yaml.ScalarNode, path: str) -> int | float | str:
        text = str(node.value)
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        message = (
            "is read differently by different YAML readers; "
            "put it in quotes if it is text, or write a plain decimal number"
        )
        self._problem(node, path, message, text)
        return text

    def _truth(self, node: yaml.ScalarNode, path: str) -> bool | str:
        text = str(node.value)
        if text.lower() in _TRUTH:
            return _TRUTH[text.lower()]
        value = "true" if text.lower() in ("yes", "on") else "false"
        message = (
            f"without quotes is a truth value to some YAML readers and text to others; "
            f'write "{text}" in quotes for the text, or {value}'
        )
        self._problem(node, path, message, text)
        return text

    def _time(self, node: yaml.ScalarNode, path: str) -> date | datetime | str:
        text = str(node.value)
        try:
            return datetime.fromisoformat(text) if ":" in text else date.fromisoformat(text)
        except ValueError:
            self._problem(node, path, "is not a date or time; write 2026-01-31 or quotes", text)
            return text

    def _check_tag(self, node: yaml.Node, kind: str, path: str, also: tuple[str, ...] = ()) -> None:
        if node.tag.removeprefix(_TAG) not in (kind, *also):
            what = "remove it, or put text that begins with ! in quotes"
            self._problem(node, path, f"tags are not accepted; {what}", node.tag)

    def _problem(self, node: yaml.Node, path: str, message: str, value: str | None = None) -> None:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self.problems.append(Problem(self._file, line, column, path, message, value))

    def _slice(self, start: yaml.Mark, end: yaml.Mark) -> str:
        if start.line == end.line:
            return self._lines[start.line][start.column : end.column]
        between = self._lines[start.line + 1 : end.line]
        last = self._lines[end.line][: end.column] if end.line < len(self._lines) else ""
        return "\n".join([self._lines[start.line][start.column :], *between, last])


def _rejoin_decimals(mapping: Node) -> None:
    """`{type: decimal(6,1)}` as it is meant.

    Inside braces YAML ends a text at the comma and makes a key of the rest, `1)`, which can be
    nothing else: no key has a parenthesis.
    """
    names = list(mapping.value)
    for before, name in pairwise(names):
        head, rest = mapping.value[before], mapping.value[name]
        if rest.value is not None or not _DECIMAL_REST.fullmatch(name):
            continue
        if isinstance(head.value, str) and _DECIMAL_HEAD.fullmatch(head.value):
            head.value = head.raw = f"{head.value},{name}"
            del mapping.value[name], mapping.keys[name]


def _position_in(raw: str, value: str, offset: int) -> int:
    """Where in the text of the file the character `offset` of the value stands, or 0.

    Walks both side by side: quotes, indentation and folding only ever add characters. An escape
    in double quotes ends the walk, and the start is as near as it gets.
    """
    position = 0
    if raw[:1] in ("|", ">"):
        position = raw.find("\n") + 1
    for char in value[:offset]:
        found = _next(raw, char, position)
        if found < 0:
            return 0
        # In single quotes, '' is one character of the value.
        doubled = char == "'" and raw[:1] == "'" and raw[found : found + 2] == "''"
        position = found + (2 if doubled else 1)
    rest = value[offset : offset + 1]
    found = _next(raw, rest, position) if rest else position
    return max(found, 0)


def _next(raw: str, char: str, position: int) -> int:
    if char == " ":
        # Folding turns a line end and its indentation into one blank.
        ends = [at for at in (raw.find(" ", position), raw.find("\n", position)) if at >= 0]
        return min(ends, default=-1)
    return raw.find(char, position)


def _syntax_problem(error: yaml.YAMLError, text: str, shown: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if mark is None:
        position = getattr(error, "position", 0)
        line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
        return Problem(shown, line, column, "", f"is not YAML: {reason}")
    if "end of stream" in reason and getattr(error, "context_mark", None):
        # What was never closed is of more use than where the file ends.
        mark = error.context_mark  # type: ignore[attr-defined]
    lines = text.split("\n")
    here = lines[mark.line] if mark.line < len(lines) else ""
    indentation = here[: len(here) - len(here.lstrip())]
    if "\t" in indentation:
        column = indentation.index("\t") + 1
        message = "a line begins with a tab; YAML is indented with blanks only"
        return Problem(shown, mark.line + 1, column, "", message)
    remedy = next((remedy for sign, remedy in _REMEDIES if sign in reason), "")
    return Problem(shown, mark.line + 1, mark.column + 1, "", f"is not YAML: {reason}{remedy}")
