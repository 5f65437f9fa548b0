"""What the state database tells about runs: frozen values for the CLI, operators and pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from dsp_airflow.engine.model import Difference, KeyRange, LossCount

RunState: TypeAlias = Literal["planned", "running", "succeeded", "failed", "terminated"]
EndState: TypeAlias = Literal["succeeded", "failed", "terminated"]
JobState: TypeAlias = Literal[
    "waiting",
    "planned",
    "copying",
    "copied",
    "checking",
    "checked",
    "purging",
    "succeeded",
    "failed",
    "terminated",
]
BatchState: TypeAlias = Literal[
    "waiting", "copying", "copied", "checking", "checked", "different", "purging", "purged", "kept"
]
SourceData: TypeAlias = Literal["unprocessed", "kept", "processed"]
PurgeMode: TypeAlias = Literal["none", "manual", "system"]


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a task file. ``attempt`` grows when an ended run is begun again."""

    id: str
    task: str
    file: str
    external_key: str | None
    dag: str
    """The DAG whose readers may see it: Airflow's own, or the one that its task file makes."""
    types: str
    """Those of its jobs, each once, by name: `s3 warm`."""
    attempt: int
    definition: Mapping[str, Any]
    definition_digest: str
    variables: Mapping[str, Any]
    state: RunState
    stop_requested: bool
    stop_requested_by: str | None
    stop_requested_at: datetime | None
    stop_reason: str | None
    error: str | None
    triggered_by: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in this attempt."""
        return self.state in {"succeeded", "failed", "terminated"}

    @property
    def stopped_by_hand(self) -> bool:
        """Whether a person asked it to stop, and not Airflow's end of the DAG run."""
        return self.stop_requested and self.stop_requested_by is not None

    def stopped_since(self, moment: datetime) -> bool:
        """Whether somebody asked it to stop after that."""
        asked = self.stop_requested_at
        return self.stop_requested and asked is not None and asked > moment

    @property
    def stop(self) -> str | None:
        """Who asked it to stop, and why, in words; ``None`` when nobody did."""
        if not self.stop_requested:
            return None
        who = self.stop_requested_by
        asked = f"{who} asked it to stop" if who else "it was asked to stop"
        return f"{asked}: {self.stop_reason}" if self.stop_reason else asked


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a run. ``attempt`` grows when it is planned anew."""

    run: str
    name: str
    ordinal: int
    attempt: int
    source_table: str
    source_connection: str
    source_identity: str
    purge_mode: PurgeMode
    check_percent: float | None
    check_seed: int | None
    planned: bool
    state: JobState
    error: str | None
    created_at: datetime
    planned_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    seen_at: datetime | None
    swapped_at: datetime | None = None
    """Of a job that replaces its target: when it did."""
    type: str = ""
    target_connection: str = ""
    target: str = ""
    """Where it writes, as ``targets.Target`` has it."""
    undone_at: datetime | None = None
    """When what it wrote began to be undone: nothing works on it since."""

    @property
    def at_work(self) -> bool:
        """Whether somebody works on it, or died while he did."""
        return self.state in {"copying", "checking", "purging"}


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job's counts, from its batches' records.

    ``rows_written`` stand in the target as copied (inserted, updated or found equal).
    ``rows_failed`` are the planned rows of uncopied batches whose last try ended in an error.
    ``rows_purged`` and ``rows_gone`` count all attempts, the rest the present one.
    """

    name: str
    state: JobState
    rows_total: int
    rows_read: int
    rows_written: int
    rows_failed: int
    rows_checked: int
    rows_different: int
    rows_purged: int
    rows_kept: int
    bytes: int
    batches: int
    batches_copied: int
    batches_checked: int
    batches_purged: int
    error: str | None
    losses: tuple[LossCount, ...] = ()
    """The values that the job's ``on_loss`` policies changed in the batches copied."""
    rows_missing: int = 0
    """Rows of the target that the source did not have, where the job deletes such."""
    rows_deleted: int = 0
    """Those of them that were deleted, in all attempts."""
    deletion_done: bool = False
    """Whether the present attempt has nothing left of that to do."""
    swapped_at: datetime | None = None
    """See ``Job``."""
    rows_gone: int = 0
    """Rows that somebody else had removed from the source, as was found and marked."""
    replaces: bool = False
    """It builds its target anew, and has planned to."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run and all its jobs, in the order of the task file."""

    run: str
    task: str
    attempt: int
    state: RunState
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    jobs: tuple[JobSummary, ...]


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """One batch as status pages show it."""

    number: int
    state: BatchState
    within: KeyRange
    rows: int
    sampled: bool
    rows_read: int | None
    rows_written: int | None
    bytes: int | None
    seconds: float | None
    rows_checked: int | None
    rows_different: int | None
    check_note: str | None
    rows_purged: int
    rows_kept: int | None
    rows_gone: int | None
    """Of which somebody else had removed so many, when that was marked."""
    holder: str | None
    """Who works on it, in words."""
    attempts: int
    error: str | None
    copied_at: datetime | None
    checked_at: datetime | None
    purged_at: datetime | None

    @property
    def source_data(self) -> SourceData:
        """What became of the rows where they came from: all there, gone, or some of them kept."""
        if self.purged_at is None:
            return "unprocessed"
        return "kept" if self.rows_kept else "processed"


@dataclass(frozen=True, slots=True)
class BatchDifference:
    """One reported row of a batch."""

    job: str
    batch: int
    phase: Literal["check", "purge"]
    difference: Difference
