"""Approval processes as people write them: who decides on which tasks, and how long it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeAlias, cast, get_args

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from dsp_airflow.config.base import Model
from dsp_airflow.config.findings import Finding, invalid, invalid_together
from dsp_airflow.config.jobs import Listed, NameList, Text
from dsp_airflow.config.scalars import format_duration, parse_duration, parse_size
from dsp_airflow.config.timeouts import DURATION_SCHEMA

TaskType: TypeAlias = Literal[
    "warm",
    "s3",
    "purge",
    "restore",
    "rollback",
    "repair",
    "permission",
    "import",
    "export",
    "mock_data",
    "database_change",
    "partition_plan",
    "shadow_table",
]
Subtype: TypeAlias = Literal[
    "insert", "update", "delete", "select", "create", "drop", "alter", "other"
]
TASK_TYPES: tuple[str, ...] = get_args(TaskType)
SUBTYPES: tuple[Subtype, ...] = get_args(Subtype)
SEVERAL_LEVELS = frozenset(
    ["warm", "s3", "purge", "restore", "rollback", "repair", "database_change"]
)
"""Types of tasks whose processes may have more than one risk level."""
ADMINISTRATORS = "administrators"
BUILT_IN = "builtin"
"""Name of the process that holds where nothing else does."""
MATCH = "match"
NONE = "none"
RESERVED = (BUILT_IN, MATCH, NONE)
MAX_NAME = 110
MAX_REMARKS = 200
MAX_LEVELS = 10
MAX_NODES = 20
LONGEST = timedelta(hours=240)
DAY = timedelta(hours=24)
LAST_PRIORITY = 1000

# Letters, digits, and the scripts of China, Japan and Korea.
_LETTERS = "A-Za-z0-9\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
NAME_PATTERN = f"[{_LETTERS}]{{1,{MAX_NAME}}}"
_NAME = re.compile(NAME_PATTERN)


def check_process_name(name: str) -> str:
    """Returns the name when a process may have it."""
    if len(name) > MAX_NAME:
        raise invalid(f"must not be longer than {MAX_NAME} characters")
    if not _NAME.fullmatch(name):
        repaired = re.sub(f"[^{_LETTERS}]+", "", name)[:MAX_NAME] or None
        raise invalid("must be letters, digits and Chinese characters only", repaired)
    if name in RESERVED:
        raise invalid(f"must not be {name}, which has a meaning of its own")
    return name


ProcessName = Annotated[
    str,
    AfterValidator(check_process_name),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$"}),
]


def _validity(value: object) -> timedelta:
    found = parse_duration(value)
    if not timedelta() < found <= LONGEST:
        raise invalid("must be longer than 0s and at most 240h")
    return found


Validity = Annotated[timedelta, PlainValidator(_validity), WithJsonSchema(DURATION_SCHEMA)]


def _bytes(value: object) -> int:
    found = parse_size(value)
    if found < 0:
        raise invalid("must not be negative")
    return found


class Node(Model):
    """Somebody whose yes is needed: any one member of a role, or one user; or nobody."""

    role: Text | None = Field(
        default=None,
        description="A role: one of its members decides.",
        examples=[ADMINISTRATORS],
    )
    user: Text | None = Field(
        default=None, description="A user by name, who decides.", examples=["anna"]
    )
    automatic: bool = Field(
        default=False, description="true: nobody is asked; what comes here passes."
    )

    @model_validator(mode="after")
    def _one_of(self) -> Node:
        given = [self.role is not None, self.user is not None, self.automatic]
        if sum(given) != 1:
            raise invalid("needs exactly one of role, user, and automatic: true")
        return self

    @property
    def label(self) -> str:
        """In words."""
        if self.automatic:
            return "automatic"
        return f"role {self.role}" if self.role is not None else f"user {self.user}"


def _administrators() -> tuple[Node, ...]:
    return (Node(role=ADMINISTRATORS),)


class Level(Model):
    """One risk level: what falls into it, and who has to agree."""

    name: str = Field(default="", description="What people call it, such as high.")
    subtypes: Annotated[tuple[Subtype, ...], Listed] = Field(
        default=SUBTYPES,
        min_length=1,
        description="What is done to data in this level. Default: anything.",
        examples=[["insert", "update"]],
    )
    max_rows: int | None = Field(
        default=None, ge=0, description="At most so many rows. Default: any number."
    )
    max_bytes: Annotated[
        int | None,
        PlainValidator(_bytes),
        WithJsonSchema({"type": "string", "pattern": "^[0-9]+(B|kB|MB|GB|KiB|MiB|GiB)$"}),
    ] = Field(default=None, description="At most so many bytes, such as 10GiB. Default: any.")
    max_statements: int | None = Field(
        default=None,
        ge=0,
        description="At most so many statements; of a task file its jobs. Default: any number.",
    )
    connection_labels: NameList = Field(
        default=(),
        description="Only tasks on a connection with one of these labels. Default: on any.",
        examples=[["production"]],
    )
    nodes: Annotated[tuple[Node, ...], Listed] = Field(
        default_factory=_administrators,
        min_length=1,
        max_length=MAX_NODES,
        description="Who has to agree, in this order. Default: the role administrators.",
    )


def _one_level() -> tuple[Level, ...]:
    return (Level(),)


class ProcessConnections(Model):
    """The connections whose tasks a process is for."""

    names: NameList = Field(
        default=(), description="Airflow connections by id.", examples=[["shop_pg"]]
    )
    labels: NameList = Field(
        default=(),
        description="Connections with one of these labels ([dsp] connection_labels).",
        examples=[["production"]],
    )

    @model_validator(mode="after")
    def _some(self) -> ProcessConnections:
        if not (self.names or self.labels):
            raise invalid("needs names or labels; write connections: all for every connection")
        return self


def _connections(value: object) -> Literal["all"] | ProcessConnections:
    if value == "all":
        return "all"
    if isinstance(value, ProcessConnections):
        return value
    if isinstance(value, Mapping):
        return ProcessConnections.model_validate(value)
    raise invalid("must be all, or names and labels of connections", "all")


class ValidityPeriods(Model):
    """How long each part may take before the request ends by itself; at most 240h each."""

    approval: Validity = Field(default=DAY, description="How long approvers have, such as 24h.")
    waiting: Validity = Field(
        default=DAY, description="How long an approved task may wait for its start."
    )
    execution: Validity = Field(
        default=DAY, description="How long the task may work once it was started."
    )


class Process(Model):
    """What one process file says."""

    name: ProcessName = Field(
        description="Its name: up to 110 letters, digits and Chinese characters.",
        examples=["WarehouseChanges"],
    )
    task_type: TaskType = Field(description="The type of the tasks that it is for.")
    enabled: bool = Field(
        default=True, description="A process that is not enabled is not offered to new requests."
    )
    priority: int = Field(
        default=100,
        ge=1,
        le=LAST_PRIORITY,
        description=(
            "Of several processes that match, the one with the smallest number holds; said in a "
            "file, it is also the priority of the steps of its tasks."
        ),
    )
    connections: Annotated[
        Literal["all"] | ProcessConnections,
        PlainValidator(_connections),
        WithJsonSchema({"type": "string"}),
    ] = Field(
        default="all",
        description="all, or {names: [...], labels: [...]}: any of them makes the process match.",
    )
    levels: Annotated[tuple[Level, ...], Listed] = Field(
        default_factory=_one_level,
        min_length=1,
        max_length=MAX_LEVELS,
        description="Risk levels, the lowest first; 3 are recommended. Default: one for all.",
    )
    validity: ValidityPeriods = Field(
        default_factory=ValidityPeriods,
        description="How long approval, waiting for the start, and execution may take.",
    )
    approve: Literal["run", "definition"] = Field(
        default="run",
        description=(
            "run: every run is decided. definition: a decision also covers later runs of the very "
            "same definition, until it, this process or the estimate changes."
        ),
    )
    start: Literal["automatic", "manual"] = Field(
        default="automatic",
        description="automatic: an approved task begins by itself; manual: by Execute now.",
    )
    requester_may_decide: bool = Field(
        default=False, description="Whether who asks may also be the one who agrees."
    )
    same_person_may_decide: bool = Field(
        default=False, description="Whether one person may decide several nodes of a request."
    )
    remarks: str = Field(
        default="",
        max_length=MAX_REMARKS,
        description="Anything worth keeping beside it, up to 200 characters.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Process:
        found = []
        if len(self.levels) > 1 and self.task_type not in SEVERAL_LEVELS:
            message = f"must be one only, as tasks of type {self.task_type} have one risk level"
            found.append(Finding(("levels",), message, str(len(self.levels))))
        if found:
            raise invalid_together(found)
        return self


def built_in(task_type: str) -> Process:
    """What holds where no process matches and none is configured: the administrators decide."""
    return Process.model_construct(
        name=BUILT_IN,
        task_type=cast("TaskType", task_type),
        enabled=True,
        priority=LAST_PRIORITY,
        connections="all",
        levels=_one_level(),
        validity=ValidityPeriods(),
        approve="run",
        start="automatic",
        requester_may_decide=False,
        same_person_may_decide=False,
        remarks="",
    )


def process_values(process: Process) -> dict[str, Any]:
    """The process as a file would say it, defaults filled in; fit for JSON."""
    connections = process.connections
    return {
        "name": process.name,
        "task_type": process.task_type,
        "enabled": process.enabled,
        "priority": process.priority,
        "connections": connections
        if isinstance(connections, str)
        else {"names": list(connections.names), "labels": list(connections.labels)},
        "levels": [_level(level) for level in process.levels],
        "validity": {
            "approval": format_duration(process.validity.approval),
            "waiting": format_duration(process.validity.waiting),
            "execution": format_duration(process.validity.execution),
        },
        "approve": process.approve,
        "start": process.start,
        "requester_may_decide": process.requester_may_decide,
        "same_person_may_decide": process.same_person_may_decide,
        "remarks": process.remarks,
    }


def process_of(values: Mapping[str, Any]) -> Process:
    """What ``process_values`` gave; the built-in one, whose name nobody may take, too."""
    if values.get("name") != BUILT_IN:
        return Process.model_validate(dict(values))
    return built_in(str(values["task_type"]))


def _level(level: Level) -> dict[str, Any]:
    volume = {
        "max_rows": level.max_rows,
        "max_bytes": None if level.max_bytes is None else f"{level.max_bytes}B",
        "max_statements": level.max_statements,
    }
    return {
        "name": level.name,
        "subtypes": list(level.subtypes),
        **{name: value for name, value in volume.items() if value is not None},
        "connection_labels": list(level.connection_labels),
        "nodes": [_node(node) for node in level.nodes],
    }


def _node(node: Node) -> dict[str, Any]:
    if node.automatic:
        return {"automatic": True}
    return {"role": node.role} if node.role is not None else {"user": node.user}
