"""Plain English for what pydantic finds, with the place in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from dsp_airflow.config.errors import Problem, listed, nearest
from dsp_airflow.config.findings import FINDING, FINDINGS, Finding, Location
from dsp_airflow.config.nodes import Node

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_PLAIN = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "mapping_type": "must be a mapping of names to values",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of keys to values",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be letters, digits and _, and not begin with a digit",
}


def problems_of(
    error: Any, root: Node, model: type[BaseModel], prefix: str = ""
) -> Iterator[Problem]:
    """The problems of a `ValidationError` of `model` on the values of `root`."""
    details: list[ErrorDetails] = error.errors(include_url=False)
    broken_lists = {detail["loc"][:-1] for detail in details if detail["loc"]}
    for detail in details:
        # A list whose entries fail also counts as too short.
        if detail["type"] == "too_short" and _has_inner(detail["loc"], broken_lists):
            continue
        yield from _problems(detail, root, model, prefix)


def in_words(error: Any, beneath: str = "") -> str:
    """All of a `ValidationError` in a line, for values that stand in no file.

    Places are named without what they have in common, `beneath`.
    """
    found = []
    for detail in error.errors(include_url=False):
        place = ".".join(map(str, detail["loc"])).removeprefix(beneath)
        found.append(f"{place}: {detail['msg']}" if place else str(detail["msg"]))
    return "; ".join(found)


def place(root: Node, finding: Finding, prefix: str = "") -> Problem:
    """The problem for a finding at its place below `root`.

    A place in an included file is named by that file and its own path.
    """
    node, path = root, prefix
    for step in finding.location:
        child = _child(node, step)
        if child is None:
            path = joined(path, step)
            break
        path = "" if child.file != node.file else joined(path, step)
        node = child
    line, column = node.place(finding.offset)
    return Problem(
        node.file, line, column, path, finding.message, finding.value, finding.suggestion
    )


def _problems(
    detail: ErrorDetails, root: Node, model: type[BaseModel], prefix: str
) -> Iterator[Problem]:
    location = tuple(step for step in detail["loc"] if step != "[key]")
    context: Mapping[str, Any] = detail.get("ctx") or {}
    kind = detail["type"]
    if kind == FINDINGS:
        for finding in context["findings"]:
            inner = Finding(
                (*location, *finding.location),
                finding.message,
                finding.value,
                finding.suggestion,
                finding.offset,
            )
            yield place(root, inner, prefix)
    elif kind == "extra_forbidden":
        yield _unknown_key(root, location, model, prefix)
    elif kind == "missing":
        message = f"the key {location[-1]} is missing"
        yield place(root, Finding(location[:-1], message), prefix)
    else:
        yield place(root, _finding(detail, location, context), prefix)


def _finding(detail: ErrorDetails, location: Location, context: Mapping[str, Any]) -> Finding:
    value = detail["input"]
    shown = _shown(value)
    match detail["type"]:
        case kind if kind == FINDING:
            message, offset = context["message"], context["offset"]
            shown = shown if value is None or _is_scalar(value) else None
            return Finding(location, message, shown, context["suggestion"], offset)
        case "literal_error":
            choices = _choices(context["expected"])
            hint = nearest(value, choices) if isinstance(value, str) else None
            return Finding(location, f"must be {listed(choices)}", shown, hint)
        case "greater_than":
            message = f"must be above {_number(context['gt'])}"
        case "greater_than_equal":
            message = f"must be at least {_number(context['ge'])}"
        case "less_than_equal":
            message = f"must be at most {_number(context['le'])}"
        case "too_short":
            message, shown = "must have at least one entry", None
        case kind:
            message = _PLAIN.get(kind, detail["msg"])
    return Finding(location, message + _remedy(detail["type"], value), shown)


def _remedy(kind: str, value: object) -> str:
    if value is None:
        return "; write a value or remove the key"
    if kind == "string_type" and _is_scalar(value):
        return "; put it in quotes"
    if kind in ("int_type", "float_type", "bool_type") and isinstance(value, str):
        return "; write it without quotes" if _is_bare(kind, value) else ""
    return ""


def _is_bare(kind: str, text: str) -> bool:
    if kind == "bool_type":
        return text in ("true", "false")
    return text.lstrip("-").replace(".", "", 1).isdecimal()


_SWITCHED = "; a task is switched by dsp task disable NAME, offline NAME and enable NAME"
_POOLED = "; pools are a setting of the installation, [dsp] pools, and dsp pools sync creates them"
_OF_THE_TASK = " here, but of the task; write it beside jobs"
_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("schedule", "priority", "timeout", "retries", "retry_delay"), _OF_THE_TASK),
    **dict.fromkeys(("retry_backoff", "notify", "owner", "approval", "execution"), _OF_THE_TASK),
    **dict.fromkeys(("enabled", "disabled", "offline", "paused", "state"), _SWITCHED),
    **dict.fromkeys(("pool", "pools", "pool_slots"), _POOLED),
    "terminate": "; a run is ended by dsp terminate RUN",
    "priority_weight": "; write priority: 1 to 10 at the task",
}
"""What people look for in a task file, and where it is."""


def _unknown_key(root: Node, location: Location, model: type[BaseModel], prefix: str) -> Problem:
    *parents, key = location
    owner = _model_at(model, tuple(parents))
    valid = list(owner.model_fields) if owner else []
    hint = nearest(key, valid)
    message = "is not a key"
    if hint is None:
        message += _ELSEWHERE.get(str(key), f"; keys here are {', '.join(valid)}")
    problem = place(root, Finding(location, message, None, hint), prefix)
    node: Node | None = root
    for step in parents:
        node = _child(node, step) if node else None
    mark = node.keys.get(str(key)) if node else None
    line, column = mark or (problem.line, problem.column)
    return Problem(problem.file, line, column, problem.path, message, str(key), hint)


def _model_at(model: type[BaseModel], parents: Location) -> type[BaseModel] | None:
    """The model that a place is validated with: fields by name, entries of lists by number."""
    current: type[BaseModel] | None = model
    for step in parents:
        if isinstance(step, int) or current is None:
            continue
        annotation = current.model_fields[step].annotation
        current = next(iter(_models_in(annotation)), None)
    return current


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(node.value, dict):
        return node.value.get(step)
    if isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
        found: Node = node.value[step]
        return found
    return None


def joined(path: str, step: str | int) -> str:
    """The path of an entry or key below a path."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


def _has_inner(location: tuple[str | int, ...], parents: set[tuple[str | int, ...]]) -> bool:
    return any(parent[: len(location)] == location for parent in parents)


def _choices(expected: str) -> list[str]:
    return [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]


def _number(value: float) -> str:
    return f"{value:g}"


def _is_scalar(value: object) -> bool:
    return not isinstance(value, dict | list | tuple | BaseModel)


def _shown(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping" if value else "{}"
    if isinstance(value, list | tuple):
        return "a list" if value else "[]"
    return str(value)
