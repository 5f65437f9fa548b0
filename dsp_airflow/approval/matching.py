"""Which process holds for a request, and which of its risk levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsp_airflow.config.errors import nearest
from dsp_airflow.config.processes import BUILT_IN, MATCH, Level, Process, built_in
from dsp_airflow.engine.errors import Refused


@dataclass(frozen=True, slots=True)
class Touched:
    """A connection that a task works on, with its labels."""

    name: str
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for, as far as processes look at it. An unknown volume is ``None``."""

    task_type: str
    subtypes: frozenset[str]
    connections: tuple[Touched, ...]
    rows: int | None = None
    bytes: int | None = None
    statements: int | None = None


def in_order(processes: Sequence[Process]) -> list[Process]:
    """By priority, then by name."""
    return sorted(processes, key=lambda process: (process.priority, process.name))


def process_for(
    processes: Sequence[Process], ask: Ask, *, named: str = MATCH, default: str = BUILT_IN
) -> Process:
    """The first enabled process that matches; else the default.

    ``named``: the process that the task asks for by name, which has to match. Raises ``Refused``
    where that one, or the default, is not there, not enabled or of another type: a process that
    is missing is never replaced by a weaker one.
    """
    if named == BUILT_IN:
        raise Refused(f"{BUILT_IN} holds where nothing else does; no task can ask for it by name")
    if named != MATCH:
        process = _found(processes, named, ask, "the task")
        if not matches(process, ask):
            names = ", ".join(one.name for one in ask.connections)
            raise Refused(
                f"process {named} is not for the connections of the task ({names}); let it match "
                "by priority (approval: match), or name another"
            )
        return process
    own = [process for process in in_order(processes) if process.task_type == ask.task_type]
    for process in own:
        if process.enabled and matches(process, ask):
            return process
    if default == BUILT_IN:
        return built_in(ask.task_type)
    return _found(processes, default, ask, "[dsp] default_process")


def matches(process: Process, ask: Ask) -> bool:
    """Whether one of the task's connections is one of the process."""
    told = process.connections
    if isinstance(told, str):
        return True
    return any(
        one.name in told.names or one.labels.intersection(told.labels) for one in ask.connections
    )


def level_for(process: Process, ask: Ask) -> int:
    """The risk level, from 0: of several that match, and above every limit, the highest.

    For each subtype, and for each set of labels apart, the lowest level counts that is high
    enough for the volume; of these the highest. What no level holds is in the highest.
    """
    labels = frozenset[str]().union(*(one.labels for one in ask.connections))
    top = len(process.levels) - 1
    found = 0
    for subtype in ask.subtypes:
        holding: dict[frozenset[str], list[int]] = {}
        for number, level in enumerate(process.levels):
            if subtype in level.subtypes and _labelled(level, labels):
                holding.setdefault(frozenset(level.connection_labels), []).append(number)
        if not holding:
            return top
        for numbers in holding.values():
            enough = (number for number in numbers if _admits(process.levels[number], ask))
            found = max(found, next(enough, top))
    return found if ask.subtypes else top


def _labelled(level: Level, labels: frozenset[str]) -> bool:
    return not level.connection_labels or bool(labels.intersection(level.connection_labels))


def _admits(level: Level, ask: Ask) -> bool:
    pairs = (
        (level.max_rows, ask.rows),
        (level.max_bytes, ask.bytes),
        (level.max_statements, ask.statements),
    )
    return all(most is None or (known is not None and known <= most) for most, known in pairs)


def _found(processes: Sequence[Process], name: str, ask: Ask, who: str) -> Process:
    if name == BUILT_IN:
        return built_in(ask.task_type)
    process = next((one for one in processes if one.name == name), None)
    if process is None:
        near = nearest(name, [one.name for one in processes])
        hint = f"; did you mean {near}?" if near else ""
        raise Refused(f"{who} names the approval process {name}, which there is not{hint}")
    if not process.enabled:
        raise Refused(f"{who} names the approval process {name}, which is disabled")
    if process.task_type != ask.task_type:
        raise Refused(
            f"{who} names the approval process {name}, which is for tasks of type "
            f"{process.task_type}, not {ask.task_type}"
        )
    return process
