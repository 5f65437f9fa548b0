"""What must be so before rows of a target are deleted that its source does not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.names import split_table
from dsp_airflow.config.tasks import Task
from dsp_airflow.config.templates import may_be
from dsp_airflow.endpoints import OpenStore
from dsp_airflow.engine.errors import DspError, Refused
from dsp_airflow.engine.model import Plan
from dsp_airflow.state.records import JobSummary
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.written import written


@dataclass(frozen=True, slots=True)
class TargetConditions:
    """Each raises ``Refused``; nothing is deleted yet."""

    runs: Runs
    task: Task
    open_store: OpenStore

    def require_proved(self, job: WarmJob, found: JobSummary) -> None:
        """All of it is copied, and nothing that was compared differs."""
        if found.batches_copied < found.batches:
            raise Refused(
                f"job {job.name}: {found.batches_copied} of {found.batches} batches are copied; "
                "nothing is deleted before all of them are"
            )
        if job.check is not None and found.batches_checked < found.batches:
            raise Refused(
                f"job {job.name}: {found.batches_checked} of {found.batches} batches are checked; "
                "nothing is deleted before all of them are"
            )
        if found.rows_different:
            raise Refused(
                f"job {job.name}: {found.rows_different:,} rows differ; nothing is deleted before "
                "that is mended and checked again"
            )

    def require_alone(self, job: WarmJob, plan: Plan) -> None:
        """No other job that ever ran has put rows of another source into this target.

        ``job`` has the name of its table.
        """
        mine = _Place(self.open_store(job.target.connection).identity, _name(job.target_table))
        source = _Place(self.open_store(job.source.connection).identity, _name(job.source.table))
        for run in written(self.runs.database):
            for theirs in run.definition.get("jobs", ()):
                if run.task == self.task.name and theirs.get("name") == job.name:
                    continue
                if not self._is_at(theirs.get("target"), mine, unknown=True):
                    continue
                if self._is_at(theirs.get("source"), source, unknown=False):
                    # One that had another name, or does the same.
                    continue
                raise Refused(
                    f"job {job.name}: job {theirs.get('name')} of task {run.task} (run {run.id}) "
                    f"wrote into {plan.target.label}, too, and its rows are missing in "
                    f"{plan.source.label}: nothing is deleted. Give each a target of its own, or "
                    "leave delete_missing out"
                )

    def _is_at(self, end: Mapping[str, Any] | None, place: _Place, *, unknown: bool) -> bool:
        """Whether an end of a job, as a run's definition has it, is that table.

        ``unknown`` is the answer where its connection is gone.
        """
        table = (end or {}).get("table")
        if end is None or table is None:
            return False
        name = _name(table) if isinstance(table, str) else tuple(table)
        if not _same_name(name, place.table):
            return False
        try:
            return self.open_store(str(end.get("connection"))).identity == place.identity
        except DspError:
            return unknown


@dataclass(frozen=True, slots=True)
class _Place:
    identity: str
    table: tuple[str, ...]


def _name(table: str) -> tuple[str, ...]:
    return tuple(split_table(table))


def _same_name(theirs: tuple[str, ...], mine: tuple[str, ...]) -> bool:
    """A name without a schema may be any schema's; one that a run completes, any that it may."""
    if len(theirs) != len(mine):
        return may_be(theirs[-1], mine[-1])
    return all(may_be(one, other) for one, other in zip(theirs, mine, strict=True))
