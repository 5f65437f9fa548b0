"""What is asked for: what approvers are shown, and the digest that their decision is bound to."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from dsp_airflow.approval import settings
from dsp_airflow.approval.matching import Ask, Touched
from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.definition import normalise
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.processes import MATCH, NONE, SUBTYPES, TASK_TYPES
from dsp_airflow.config.restores import RestoreJob, is_drill
from dsp_airflow.config.tasks import Job, Task
from dsp_airflow.engine import documents
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.removal import Removal
from dsp_airflow.state.codec import canonical

FORMAT = 1
"""Rises when the form of what is bound changes, as then every digest does."""
DOCUMENTS = "mongodb"
_MOVING = frozenset({"rows", "bytes", "deletes", "removes", "statements", "warnings"})
"""What is another at each look, though nothing was edited."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that somebody wants to do.

    ``bound`` is what a decision is bound to, fit for JSON; ``shown`` is what approvers are shown
    besides. An unknown volume is ``None``.
    """

    task: str
    title: str
    task_type: str
    subtypes: frozenset[str]
    connections: tuple[Touched, ...]
    bound: Mapping[str, Any]
    shown: Mapping[str, Any] = field(default_factory=dict)
    rows: int | None = None
    bytes: int | None = None
    statements: int | None = None
    process: str = MATCH
    """The process that the task asks for by name."""
    tell: tuple[str, ...] = ()
    """Addresses that hear of the decision, besides who asked."""

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of what a decision is bound to."""
        return digest_of(self.bound)

    @property
    def ask(self) -> Ask:
        """What processes look at."""
        return Ask(
            self.task_type,
            self.subtypes,
            self.connections,
            self.rows,
            self.bytes,
            self.statements,
        )

    def evidence(self, earlier: Mapping[str, Any] | None) -> dict[str, Any]:
        """All that is stored with a request; ``earlier`` is that of the last approved one."""
        shown = dict(self.shown)
        found = {
            "bound": dict(self.bound),
            "subtypes": sorted(self.subtypes),
            "connections": [
                {"name": one.name, "labels": sorted(one.labels)} for one in self.connections
            ],
            "rows": self.rows,
            "bytes": self.bytes,
            "statements": self.statements,
            "tell": list(self.tell),
            **shown,
        }
        found["changes"] = None if earlier is None else changes(earlier, found)
        return found


def digest_of(bound: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of the one JSON text of what a decision is bound to."""
    return hashlib.sha256(canonical(dict(bound)).encode()).hexdigest()


def task_type_of(task: Task) -> str:
    """The type of a task's runs."""
    return furthest({job.type for job in task.jobs})


def furthest(types: AbstractSet[str]) -> str:
    """Of several types of jobs the one that reaches furthest: into another database first."""
    return next(name for name in ("warm", "restore", "s3") if name in types)


def subtypes_of(job: Job, plan: Plan) -> set[str]:
    """What a job will do to data."""
    found = {"create"} if plan.create else set()
    if isinstance(job, S3Job):
        found.add("select")
    else:
        found.add("insert")
        if job.on_conflict == "update":
            found.add("update")
    if plan.adds:
        found.add("alter")
    if plan.replaces:
        found |= {"create", "drop"}
    if isinstance(job, WarmJob) and job.delete_missing is not None:
        found.add("delete")
    if job.purge != "none":
        found.add("delete")
    return found


def connections_of(job: Job) -> list[str]:
    """The connections that a job works on."""
    limits = None if isinstance(job, RestoreJob) else job.limits
    lag = limits.replica_lag.connections if limits and limits.replica_lag else ()
    return list(dict.fromkeys([job.source.connection, job.target.connection, *lag]))


def job_estimate(
    job: Job, plan: Plan, system: str, rows: int, removed: Removal | None = None
) -> dict[str, Any]:
    """What a look at a job found, fit for JSON. ``system`` is that of the source.

    ``removed`` are the rows that it takes from its target, where that was counted.
    """
    deletes = _deletions(job, plan, rows, removed)
    return {
        "name": job.name,
        "type": job.type,
        "definition": plan.definition,
        "subtypes": sorted(subtypes_of(job, plan)),
        "connections": connections_of(job),
        "source": plan.source.label,
        "target": plan.target.label,
        "create": plan.create,
        "statements": [
            *plan.ddl,
            *plan.adds,
            *_read(job, plan, system),
            *_taken(plan, removed),
            *_dropped(job, plan),
        ],
        "rows": rows,
        "bytes": plan.bytes,
        "columns": [
            {
                "source": pair.source,
                "source_type": pair.source_type,
                "target": pair.target,
                "target_type": pair.target_type,
                "fit": pair.fit,
                "note": pair.note,
            }
            for pair in plan.pairs
        ],
        "purge": job.purge,
        "deletes": "; and ".join(deletes) or None,
        "removes": None if removed is None else {"rows": removed.rows, "of": removed.standing},
        "warnings": list(plan.warnings),
    }


def header_of(task: Task, task_type: str) -> dict[str, Any]:
    """What is known of a run before its jobs are looked at, fit for JSON."""
    return {
        "task": task.name,
        "title": task.title,
        "task_type": task_type,
        "process": task.approval,
        "owner": task.owner,
        "tell": list(task.notify.to) if task.notify.when != "never" else [],
        "definition": normalise(task),
        "jobs": [job.name for job in task.jobs],
    }


def of_estimates(header: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Subject:
    """A run of a task, by what was found of its jobs. ``Refused`` where it wants no approval."""
    if header["process"] == NONE:
        raise Refused(
            f"task {header['task']} says approval: none, which is not accepted while "
            "[dsp] enforce_approval is on; write match, or the name of a process"
        )
    by_name = {one["name"]: one for one in found}
    missing = [name for name in header["jobs"] if name not in by_name]
    if missing:
        raise Refused(f"job {missing[0]} was not looked at, so nobody can decide on it")
    jobs = [by_name[name] for name in header["jobs"]]
    defined = header["definition"]["jobs"]
    after = {one["name"]: one["after"] for one in defined if "after" in one}
    return Subject(
        task=header["task"],
        title=header["title"],
        task_type=header["task_type"],
        subtypes=frozenset(name for one in jobs for name in one["subtypes"]),
        connections=touched(name for one in jobs for name in one["connections"]),
        bound={
            "format": FORMAT,
            "task_type": header["task_type"],
            "task": header["task"],
            "schedule": header["definition"]["schedule"],
            "execution": header["definition"]["execution"],
            "jobs": {one["name"]: bound_job(one) for one in jobs},
            # Left out where there is none, so that decisions on other tasks hold as they did.
            **({"after": after} if after else {}),
        },
        shown={"definition": header["definition"], "jobs": [dict(one) for one in jobs]},
        rows=sum(one["rows"] for one in jobs),
        bytes=sum(one["bytes"] for one in jobs),
        statements=len(jobs),
        process=header["process"],
        tell=tuple(header["tell"]),
    )


def bound_job(estimate: Mapping[str, Any]) -> dict[str, Any]:
    """What of a job a decision is bound to; a purge by hand adds whose batches it deletes.

    And whether it deletes nothing, but marks them as removed; or which run it rolls back or
    repairs.
    """
    names = ("definition", "run", "batches", "marks", "rollback", "repair")
    return {name: estimate[name] for name in names if name in estimate}


def declared(
    task: str,
    task_type: str,
    *,
    title: str = "",
    subtypes: Iterable[str],
    connections: Iterable[str],
    definition: Any,
    rows: int | None = None,
    bytes: int | None = None,  # noqa: A002 - what it counts
    statements: int | None = None,
    process: str = MATCH,
    jobs: Sequence[Mapping[str, Any]] = (),
) -> Subject:
    """What a DAG that somebody wrote by hand says that it does, with what was found of its jobs."""
    kinds = frozenset(subtypes) | {name for one in jobs for name in one["subtypes"]}
    unknown = sorted(kinds - set(SUBTYPES))
    if task_type not in TASK_TYPES:
        raise ConfigError(f"task_type {task_type!r} is not one of {', '.join(TASK_TYPES)}")
    if unknown or not kinds:
        named = f"subtype {unknown[0]!r} is not one of" if unknown else "name subtypes, of"
        raise ConfigError(f"{named} {', '.join(SUBTYPES)}")
    names = [*connections, *(name for one in jobs for name in one["connections"])]
    if not names:
        raise ConfigError("name the connections that the task works on")
    if definition is None and not jobs:
        raise ConfigError("give a definition, such as the SQL: a decision is bound to it")
    if process == NONE:
        raise Refused("approval: none is not accepted while [dsp] enforce_approval is on")
    known = [one["rows"] for one in jobs]
    return Subject(
        task=task,
        title=title or task,
        task_type=task_type,
        subtypes=kinds,
        connections=touched(names),
        bound={
            "format": FORMAT,
            "task_type": task_type,
            "task": task,
            "subtypes": sorted(kinds),
            "connections": sorted(set(names)),
            "definition": definition,
            "jobs": {one["name"]: bound_job(one) for one in jobs},
        },
        shown={"definition": definition, "jobs": [dict(one) for one in jobs]},
        rows=rows if rows is not None or not known else sum(known),
        bytes=bytes,
        statements=statements if statements is not None or not jobs else len(jobs),
        process=process,
    )


def touched(names: Iterable[str]) -> tuple[Touched, ...]:
    """Connections with the labels that ``[dsp] connection_labels`` gives them."""
    labels = settings.connection_labels()
    return tuple(Touched(name, labels.get(name, frozenset())) for name in dict.fromkeys(names))


def changes(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is different since the last decision, as lines of a diff; none: nothing is."""

    def lines(evidence: Mapping[str, Any]) -> list[str]:
        part = {name: evidence.get(name) for name in ("definition", "bound", "subtypes")}
        part["jobs"] = [
            {name: value for name, value in job.items() if name not in _MOVING}
            for job in evidence.get("jobs", ())
        ]
        return json.dumps(part, indent=1, sort_keys=True, ensure_ascii=False).splitlines()

    return list(
        difflib.unified_diff(lines(earlier), lines(now), "approved", "asked", "", "", 2, "")
    )


def _deletions(job: Job, plan: Plan, rows: int, removed: Removal | None) -> list[str]:
    """In words: how many rows, of which table, and why."""
    found = []
    if job.purge != "none":
        when = "after each check" if job.purge == "system" else "when somebody asks for it"
        found.append(
            f"up to {rows:,} rows of {plan.source.label}, {when}: each one proved, under lock, to "
            f"stand in {plan.target.label}. A row to which another one refers is kept, so that no "
            "reference cascades"
        )
    if removed is not None and plan.replaces:
        found.append(
            f"the table {plan.target.label} with its {removed.rows:,} rows, once a new one with "
            f"those of {plan.source.label} has taken its place (mode: replace)"
        )
    elif removed is not None and isinstance(job, WarmJob) and job.delete_missing is not None:
        found.append(
            f"{removed.rows:,} of {removed.standing:,} rows of {plan.target.label}, whose keys "
            f"{plan.source.label} does not have (delete_missing, at most "
            f"{job.delete_missing.limit}): each one under lock, as it was seen"
        )
    return found


def _taken(plan: Plan, removed: Removal | None) -> list[str]:
    """What takes rows from the target; documents are told of in their system's own words."""
    if removed is None:
        return []
    documents, target = plan.target_shape.open, plan.target
    if plan.replaces:
        return [f"-- the old one, once the new one has its name\n{_drop(plan)}"]
    key = ", ".join(plan.key)
    delete = (
        f"delete in {target.label}: {{_id: each that is missing}}"
        if documents
        else f"DELETE FROM {target.table} WHERE ({key}) = each that is missing"  # noqa: S608
    )
    return [f"-- missing rows only\n{delete}"]


def _dropped(job: Job, plan: Plan) -> list[str]:
    """How the table of a drill goes again."""
    return [f"-- once every row of it is proved\n{_drop(plan)}"] if is_drill(job) else []


def _drop(plan: Plan) -> str:
    target = plan.target
    if any(column.type.identity == documents.FILE for column in plan.target_shape.columns):
        return f"drop {target.label}.chunks and {target.label}.files"
    return f"drop {target.label}" if plan.target_shape.open else f"DROP TABLE {target.table}"


def _read(job: Job, plan: Plan, system: str) -> list[str]:
    """What is read, and what a purge deletes, as the source is told it."""
    condition = plan.source.where
    if system == DOCUMENTS:
        found = [f"find in {plan.source.label}: {condition or '{}'}"]
    elif isinstance(job, RestoreJob):
        found = [f"read {plan.source.label}" + (f" WHERE {condition}" if condition else "")]
    else:
        columns = ", ".join(one.expression for one in plan.source.fields)
        where = f" WHERE {condition}" if condition else ""
        found = [f"SELECT {columns} FROM {plan.source.table}{where}"]  # noqa: S608 - to be read
        if job.purge != "none":
            found.append(f"-- proved rows only\nDELETE FROM {plan.source.table}{where}")
    return found
