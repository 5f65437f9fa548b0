"""One run of a task, step by step: what the operators and the CLI both call.

A step opens what it needs, does its part, records how it ended, and can be repeated. Steps
of one run may execute in different processes and machines; they meet in the state database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from dsp_airflow import drifting, drilling, marking
from dsp_airflow.advancing import Advance, bound_of, cursor_of
from dsp_airflow.approval.gate import Gate, GuardedPace, default_gate
from dsp_airflow.config.archives import S3Job, same_place
from dsp_airflow.config.definition import data_digest
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.restores import RestoreJob, is_drill
from dsp_airflow.config.tasks import Job as AnyJob
from dsp_airflow.config.tasks import Task
from dsp_airflow.config.variables import UnresolvedVariableError
from dsp_airflow.endpoints import OpenStore, for_step
from dsp_airflow.engine import definition, missing, stepping
from dsp_airflow.engine import plan as planning
from dsp_airflow.engine import swap as swapping
from dsp_airflow.engine.errors import Closed, ConfigError, DspError, Mismatch, Refused, Terminated
from dsp_airflow.engine.events import JobDone, Noted, Quiet, tell
from dsp_airflow.engine.gone import Unproved
from dsp_airflow.engine.limits import Gauge
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.notes import noting
from dsp_airflow.engine.pace import BatchEdgePace, Brake, LimitedPace
from dsp_airflow.engine.ports import Located, Watch
from dsp_airflow.engine.throttle import Throttle
from dsp_airflow.engine.work import Job
from dsp_airflow.limits import CurrentLimits
from dsp_airflow.naming import PREFIX, is_open, named
from dsp_airflow.noting import drop_old
from dsp_airflow.paths import Given, Path, RestorePath, WaitingPath, path_of
from dsp_airflow.permissions.checks import Permit, default_permit
from dsp_airflow.placing import placing
from dsp_airflow.purge_conditions import PurgeConditions
from dsp_airflow.purge_order import purge_order
from dsp_airflow.replacing import Replacing, alone, replaces
from dsp_airflow.run_variables import Interval, packed, resolved_variables, unpacked
from dsp_airflow.state import audit
from dsp_airflow.state.buckets import Bucket
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.deletions import Deletions
from dsp_airflow.state.keeper import Keeper
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.state.records import EndState, JobSummary, Run, RunSummary
from dsp_airflow.state.rollbacks import Rollbacks, refuse_undone
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches
from dsp_airflow.step_conditions import StepConditions
from dsp_airflow.target_conditions import TargetConditions

AnyJobT = TypeVar("AnyJobT", bound=AnyJob)

DELETE_MISSING = "delete_missing"
"""The step that deletes from the target what the source does not have."""


@dataclass
class TaskRun:
    """A run of a task, as this process works on it.

    ``pace`` is shared by all steps: ``pace.stop`` ends the work at the next batch edge.
    ``leaves``: outside its window a step raises ``Closed``, in place of waiting for it.
    ``gate`` says whether the work is approved, ``permit`` whether its people hold the grants.
    ``by_hand`` is who asked for this purge or restore by hand, for the audit.
    """

    database: StateDatabase
    task: Task
    run: Run
    open_store: OpenStore
    watch: Watch = field(default_factory=Quiet)
    leaves: bool = False
    gate: Gate = field(default_factory=default_gate)
    permit: Permit = field(default_factory=default_permit)
    by_hand: str | None = None
    pace: BatchEdgePace = field(init=False)
    opened_at: datetime = field(init=False)
    """A check or purge by hand of an ended run obeys what is asked for later than that."""
    runs: Runs = field(init=False)

    def __post_init__(self) -> None:
        self.runs = Runs(self.database)
        self.pace = BatchEdgePace(self._stop)
        self.opened_at = self.database.now()

    def _stop(self) -> str | None:
        """Who asked the run to stop, and why."""
        run = self.runs.get(self.run.id)
        return run.stop if not self.run.ended or run.stopped_since(self.opened_at) else None

    # Steps

    def plan(self, name: str, *, anew: bool = False) -> Plan:
        """Plans a job, unless it is planned: a repeated step goes on with the plan there is.

        ``anew`` begins a new attempt. Nothing is written to the databases.
        """
        job = self._job(name)
        path = self.path(job, "plan")
        source = path.source
        self.runs.add_job(
            self.run.id,
            name,
            [j.name for j in self.task.jobs].index(name),
            source_table=self._in_this_run(job).source.table,
            source_connection=job.source.connection,
            source_identity=source.identity,
            purge_mode=job.purge,
            check_percent=job.check.percent if job.check else None,
            check_seed=job.check.seed if job.check else None,
        )
        with self._recorded(name):
            self._refuse_undone(name)
            self.pace.before_batch()
            self.require_granted(job, "plan")
        if anew and self.runs.job(self.run.id, name).planned:
            self.runs.new_attempt(self.run.id, name)
        ledger = SqlLedger(self.database, self.run.id, name)
        with self._recorded(name), placing(self.run.file, name):
            self._refuse_edited()
            known = ledger.plan()
            if known is not None:
                self._verify_unchanged(path, known)
                self.gate.planned(known)
                if self.runs.job(self.run.id, name).state == "waiting":
                    # Whoever stored the plan was killed before it could say so.
                    self.runs.move(self.run.id, name, "planned")
                return known
            self._refuse_shared_folder(job)
            if isinstance(path, RestorePath):
                drilling.require_as_recorded(self.database, path.job, path.archive)
            drift = drifting.drift_of(self.database, self.task.name, job, source)
            given = self._given(job)
            since = cursor_of(self.database, self.task.name, job, source)
            bound = bound_of(self.database, self.task.name, job, source)
            given = replace(given, since=since, bound=bound)
            with drift.explaining():
                plan, batches = path.plan(given)
            # Who has a plan is taken for one that may go on with it.
            self._refuse_rolling_back(path.work(plan, ledger)[1], plan)
            self.gate.planned(plan)
            plan = replace(plan, warnings=(*plan.warnings, *drift.require_taken()))
            ledger.planned(plan, batches)
            drifting.keep(self.database, self.task.name, drift, source, self.run.id)
            self.runs.move(self.run.id, name, "planned")
        if plan.step is not None:
            tell(self.watch, Noted(stepping.told(name, plan.step)))
        if is_drill(job):
            tell(self.watch, Noted(drilling.told(job, self.run)))
        return plan

    def copy(self, name: str, *, wait: bool = True) -> JobSummary:
        """Copies what is not copied yet.

        ``wait=False``: come back when only batches that others hold are left (a shard).
        """
        with self._recorded(name):
            path, work, replacing, ledger = self._work(name, "copy", wait=wait)
            self.gate.copying(work.plan)
            self.runs.move(self.run.id, name, "copying")
            begun = self._job_summary(name).batches_copied > 0
            if isinstance(path, RestorePath) and is_drill(path.job):
                for table in drilling.drop_left(self.database, self.run, path.job, path.store):
                    tell(self.watch, Noted(f"{table}, left by a drill that failed, was dropped"))
            with alone(replacing):
                if replacing is not None:
                    replacing.begin(self.watch, begun=begun)
                with Keeper(ledger), self._limited(path, work) as limited:
                    path.copy(limited, self.run.variables.get(name, {}))
            if work.ledger.waiting("copy"):
                return self._job_summary(name)
            self.runs.move(self.run.id, name, "copied")
            if self._job(name).check is None:
                self._move_cursor(name, work.plan, work.source)
                self._advance(name, work.plan, work.source, purged=False)
            if self._through(name, checked=False):
                self.runs.move(self.run.id, name, "succeeded")
        found = self._job_summary(name)
        tell(
            self.watch,
            JobDone("copy", name, work.plan.rows, found.rows_written, found.rows_failed),
        )
        return found

    def check(self, name: str, *, wait: bool = True) -> JobSummary:
        """Compares what was copied; raises ``Mismatch`` when rows differ.

        What differed the last time is compared again: somebody may have mended it.
        """
        if self._job(name).check is None:
            return self._job_summary(name)
        return self._check(name, wait=wait)

    def _check(self, name: str, *, wait: bool) -> JobSummary:
        with self._recorded(name):
            path, work, replacing, ledger = self._work(name, "check", wait=wait)
            self.gate.checking()
            self.runs.move(self.run.id, name, "checking")
            if self._job_summary(name).rows_different:
                batches = self.runs.each_batch(self.run.id, name)
                differed = [b.number for b in batches if b.rows_different]
                self.runs.reopen(self.run.id, name, "check", differed)
            with (
                alone(replacing),
                Keeper(ledger),
                self._limited(path, work) as limited,
            ):
                path.check(limited)
            found = self._job_summary(name)
            if found.rows_different:
                raise Mismatch(self._differing(name, found))
            if work.ledger.waiting("check"):
                return found
            self._move_cursor(name, work.plan, work.source)
            self._advance(name, work.plan, work.source, purged=False)
            self.runs.move(self.run.id, name, "checked")
            if self._through(name, checked=True):
                self.runs.move(self.run.id, name, "succeeded")
        tell(
            self.watch,
            JobDone("check", name, found.rows_total, found.rows_checked, found.rows_different),
        )
        return found

    def check_again(self, name: str, percent: float | None = None) -> JobSummary:
        """Forgets an earlier check and compares anew, as much as the file (or ``percent``) says."""
        job = self._job(name)
        # Before the earlier check is forgotten.
        self.require_granted(job, "check")
        if percent is None:
            percent = job.check.percent if job.check else 100.0
        found = self._job_summary(name)
        self._require_copied(found)
        seed = job.check.seed if job.check else 0
        sampled = planning.sample(found.batches, percent, seed)
        self.runs.resample(self.run.id, name, sampled)
        self.runs.reopen(self.run.id, name, "check")
        return self._check(name, wait=True)

    def purge(self, name: str, numbers: Collection[int] | None = None) -> JobSummary:
        """Deletes proved rows from the source; ``None`` means every batch not purged yet.

        What refers to them, and is the system's to purge, goes before them. Raises ``Refused`` when
        some job of the task on this table is not copied and checked, or a batch has no record.
        """
        # Until something may be deleted, a refusal leaves the job in the state it is in.
        path, work, ledger, conditions = self._purgeable(name, numbers)
        plan = work.plan
        behind = StepConditions(conditions).behind(self._job(name), plan)
        if behind and self._job(name).purge == "manual":
            raise Refused(f"job {name}: nothing was deleted: {behind}")
        self._require_derived(path, plan)
        order = purge_order(self.task, self._job(name), conditions.open_store)
        if numbers is None and self._job(name).purge == "system" and not behind:
            for child in map(self._job_summary, order.first):
                if child.batches_purged < child.batches:
                    self.purge(child.name)
        ledger.from_last = order.to_itself
        self.gate.deleting(plan, self.run.id, numbers)
        with self._recorded(name):
            if numbers is not None:
                self.runs.reopen(self.run.id, name, "purge", numbers)
            resource = f"{work.source.identity} {plan.source.label}"
            self.runs.begin_purge(self.run.id, name, self.by_hand or audit.SYSTEM, numbers)
            if behind:
                told = f"Job {name}: nothing is deleted of this step yet: {behind}"
                tell(self.watch, Noted(told))
                path = WaitingPath(path)
            with (
                self.runs.table_lease(resource, self.run.id),
                Keeper(ledger),
                self._limited(path, work) as limited,
            ):
                variables = self.run.variables.get(name, {})
                act = partial(path.purge, limited, variables=variables)
                order.follow(act, self.runs, self.run.id, name, numbers)
            self._advance(name, plan, work.source, purged=True)
            self.runs.move(self.run.id, name, "succeeded")
        found = self._job_summary(name)
        tell(
            self.watch,
            JobDone("purge", name, found.rows_total, found.rows_purged, found.rows_kept),
        )
        return found

    def mark_deleted(self, name: str, numbers: Collection[int] | None, by: str) -> list[Unproved]:
        """Records batches as purged whose rows somebody removed from the source by hand.

        Each is verified; returns those that are not recorded, with the reasons. ``None`` means
        every batch not purged yet. Repeated, it finds nothing left to do.
        """
        path, work, ledger, _ = self._purgeable(name, numbers)
        plan = work.plan
        self._require_derived(path, plan)
        self.gate.marking(plan, self.run.id, numbers)
        resource = f"{work.source.identity} {plan.source.label}"
        with (
            self.runs.table_lease(resource, self.run.id),
            Keeper(ledger),
            self._limited(path, work) as limited,
        ):
            found = marking.mark(limited, self.runs, self.run.id, self.task.name, numbers, by)
            if found.refused and not found.marked:
                return found.refused
            # Also where all was marked before: whoever did it may have been killed here.
            self._advance(name, plan, work.source, purged=True)
            if self._through(name, checked=True):
                self.runs.move(self.run.id, name, "succeeded")
        return found.refused

    def deletes_missing(self, name: str) -> bool:
        """Whether the job deletes rows of the target that the source does not have."""
        return deletes_missing(self._job(name))

    def delete_missing(self, name: str) -> JobSummary:
        """Deletes rows of the target that the source does not have, where the job asks for it.

        Raises ``Refused`` while anything is not copied and checked, when more than the job's
        limit is missing, or other rows than the job's own stand in the target.
        """
        job = self._job(name)
        if not isinstance(job, WarmJob) or job.delete_missing is None:
            return self._job_summary(name)
        path, work, _, _ = self._work(name, DELETE_MISSING, wait=True)
        plan = work.plan
        conditions = TargetConditions(self.runs, self.task, self.open_store)
        conditions.require_proved(job, self._job_summary(name))
        conditions.require_alone(self._in_this_run(job), plan)
        self._require_derived(path, plan)
        self.gate.copying(plan)
        self._announce(name, "delete_missing.begin", plan)
        resource = f"{work.target.identity} {plan.target.label}"
        record = Deletions(self.database, self.run.id, name, resource)
        with (
            self._recorded(name),
            self.runs.table_lease(resource, self.run.id),
            self._limited(path, work) as limited,
        ):
            may = partial(self.gate.removing, plan)
            done = missing.delete_missing(limited, job.delete_missing, record, may)
            record.end()
            if self._through(name, checked=True):
                self.runs.move(self.run.id, name, "succeeded")
        told = f"Deleted from {plan.target.label}: {done.deleted:,}, kept: {done.kept:,}"
        tell(self.watch, Noted(told))
        return self._job_summary(name)

    def swap(self, name: str) -> JobSummary:
        """Puts what a job of ``mode: replace`` built in the target's place; others have nothing.

        Raises ``Refused`` unless all of it is copied and, where the job asks for that, checked.
        """
        job = self._job(name)
        if not isinstance(job, WarmJob) or not replaces(job):
            return self._job_summary(name)
        with self._recorded(name):
            _, work, replacing, ledger = self._work(name, "swap", wait=True)
            found = self._job_summary(name)
            self._require_copied(found)
            if job.check is not None and not _is_proved(found):
                raise Refused(
                    f"job {name}: {found.batches_checked} of {found.batches} batches are checked, "
                    f"and {found.rows_different:,} rows differ; the target stays as it is until "
                    "the check has found no difference"
                )
            if replacing is not None:
                self.gate.copying(work.plan)
                may = partial(self.gate.removing, replacing.plan)
                self._announce(name, "replace.begin", work.plan)
                with alone(replacing), Keeper(ledger):
                    replacing.finish(work, allow_empty=job.allow_empty, may=may)
            if self._through(name, checked=True):
                self.runs.move(self.run.id, name, "succeeded")
        return self._job_summary(name)

    def drop_drill(self, name: str) -> JobSummary:
        """Drops what a drill restored, once it is proved; other jobs have nothing to drop.

        May be repeated. Raises ``Refused`` while anything is not restored and checked: a table in
        which rows differ stays, for whoever looks for the reason, until the next drill.
        """
        job = self._in_this_run(self._job(name))
        if not isinstance(job, RestoreJob) or job.drill is None:
            return self._job_summary(name)
        self.pace.before_batch()
        self.require_granted(job, "drop")
        found = self._job_summary(name)
        if not _is_proved(found):
            raise Refused(
                f"job {name}: {found.batches_checked} of {found.batches} batches are checked, and "
                f"{found.rows_different:,} rows differ; {job.target.table} stays"
            )
        path = self.path(job, "drop")
        if isinstance(path, RestorePath) and drilling.drop(
            self.database, self.run, path.job, path.store
        ):
            tell(self.watch, Noted(f"{job.target.table} is proved, and was dropped"))
        return found

    def is_tried(self, name: str) -> bool:
        """Whether the job is a drill that is through, so that its table may be gone."""
        found = next((j for j in self.summary().jobs if j.name == name), None)
        return is_drill(self._job(name)) and found is not None and _is_proved(found)

    # The whole run

    def begin(self, interval: Interval | None = None) -> None:
        """The execution starts (or goes on): every variable gets its value once, here.

        One that has ended begins again, unless its task was switched off since.
        """
        if self.run.ended:
            Switches(self.database).require_enabled(self.run.task)
        when = interval or Interval()
        now = self.database.now()
        try:
            resolved = {
                job.name: packed(self.variables_at(job, now, when)) for job in self.task.jobs
            }
        except UnresolvedVariableError as error:
            raise ConfigError(str(error)) from error
        # Another step may have ended it since it was looked at.
        self.run = self.runs.begin(
            self.run.id, resolved, anew=self.run.ended, restored_by=self.by_hand
        )
        self.require_going()

    def variables_at(self, job: AnyJob, now: datetime, when: Interval) -> dict[str, Any]:
        """A job's variables in an execution at that time, and what a drill draws."""
        run = self.run
        tried = drilling.drawn(self.database, job, run.task, run.id, run.created_at)
        return resolved_variables(self.task, job, now, when) | tried

    def require_going(self) -> None:
        """Raises ``Terminated`` for a run that somebody ended: it goes on once it begins again."""
        if self.run.state == "terminated" and self.run.stop_requested:
            raise Terminated(f"run {self.run.id} has ended: {self.run.stop}; clear it to go on")

    def finish(self, error: BaseException | None = None) -> RunSummary:
        """Records how the run ended."""
        if error is None:
            self.runs.finish(self.run.id, "succeeded")
        else:
            ends: EndState = "terminated" if isinstance(error, Terminated) else "failed"
            self.runs.finish(self.run.id, ends, _message(error))
        return self.summary()

    def summary(self) -> RunSummary:
        """The run's jobs with their counts."""
        return self.runs.summary(self.run.id)

    def require_granted(self, job: AnyJob, step: str) -> None:
        """Raises ``Denied`` unless the grants are there for what a step begins."""
        self.permit.require(self.task, job, for_step(self.open_store, self.task.name, job, step))

    # Helpers

    def _job(self, name: str) -> AnyJob:
        job = next((j for j in self.task.jobs if j.name == name), None)
        if job is None:
            names = ", ".join(j.name for j in self.task.jobs)
            raise ConfigError(f"task {self.task.name} has no job {name!r}; it has {names}")
        return job

    def _in_this_run(self, job: AnyJobT) -> AnyJobT:
        """The job with the names that it has in this run."""
        found = named(self.task, self.run.variables).job(job.name)
        return found if isinstance(found, type(job)) else job

    def is_checked(self, name: str) -> bool:
        """Whether the job asks for a check."""
        return self._job(name).check is not None

    def path(
        self, job: AnyJob, step: str, variables: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Path:
        """A job's way, for one step of it. Its target has the name that it has in this run, or
        that ``variables`` give it.
        """
        task = named(self.task, self.run.variables if variables is None else variables)
        job = next((one for one in task.jobs if one.name == job.name), job)
        if is_open(job):
            raise Refused(
                f"job {job.name}: run {self.run.id} was not begun, so that {job.target_table} has "
                "no name yet; start it first"
            )
        return path_of(task, job, for_step(self.open_store, task.name, job, step))

    def _given(self, job: AnyJob) -> Given:
        return Given(self._variables(job), self._definition())

    def _definition(self) -> str:
        return data_digest(self.task)

    def _variables(self, job: AnyJob) -> dict[str, Any]:
        return unpacked(self.run.variables.get(job.name, {}))

    def _refuse_edited(self) -> None:
        if self._definition() != self.run.definition_digest:
            raise Refused(
                f"the definition of task {self.task.name} was edited after run {self.run.id} "
                "began; nothing was done. Start a new run"
            )

    def _refuse_shared_folder(self, job: AnyJob) -> None:
        """Objects of one run are told apart by their folders alone.

        The file cannot say it all: ``{{ run_date }}`` and ``{{ logical_date }}`` may be one day.
        """
        if not isinstance(job, S3Job):
            return
        mine = self._variables(job)[PREFIX]
        for other in self.task.jobs:
            if not isinstance(other, S3Job) or other.name == job.name:
                continue
            theirs = self._variables(other)[PREFIX]
            if same_place(job, mine, other, theirs):
                raise ConfigError(
                    f"job {job.name}: s3://{job.target.bucket}/{mine} is a folder of job "
                    f"{other.name}, too, which writes to {theirs}; give each job one of its own"
                )

    def _work(
        self, name: str, step: str, *, wait: bool
    ) -> tuple[Path, Job[Any, Any], Replacing | None, SqlLedger]:
        """The engine's job, once definition, tables and endpoints are proved unchanged.

        With what is built to replace the target, by which the job works until it has.
        """
        self.pace.before_batch()
        job = self._job(name)
        self.require_granted(job, step)
        path = self.path(job, step)
        ledger = SqlLedger(self.database, self.run.id, name)
        self._refuse_undone(name)
        plan = ledger.plan()
        if plan is None:
            raise Refused(f"job {name} of run {self.run.id} is not planned")
        self._refuse_edited()
        if plan.step is not None and plan.step.waits:
            path = WaitingPath(path)
        self._verify_unchanged(path, plan)
        source, target = path.work(plan, ledger)
        if step == "copy":
            self._refuse_rolling_back(target, plan)
        if step == "copy" and plan.rollback and isinstance(job, WarmJob):
            store = for_step(self.open_store, self.task.name, job, step)(job.target.connection)
            if not plan.create:
                drop_old(self.database, plan, store, self.watch)
            plan = noting(plan, ledger.run, store.dialect)
        replacing = self._replacement(plan, ledger)
        work: Job[Any, Any] = Job(
            plan=plan if replacing is None else swapping.filling(plan, replacing.new),
            source=source,
            target=target,
            ledger=ledger,
            pace=GuardedPace(self.pace, self.gate),
            watch=self.watch,
            workers=job.workers,
            isolation=job.isolation if isinstance(job, WarmJob) else "repeatable_read",
            wait=wait,
        )
        return path, work, replacing, ledger

    def _purgeable(
        self, name: str, numbers: Collection[int] | None
    ) -> tuple[Path, Job[Any, Any], SqlLedger, PurgeConditions]:
        """The work on batches that are copied and checked; see ``purge``."""
        if self._job(name).purge == "none":
            raise Refused(
                f"job {name} keeps its rows (purge: none), so nothing was deleted; a run begun "
                "with purge: manual can be purged"
            )
        path, work, _, ledger = self._work(name, "purge", wait=True)
        opened = for_step(self.open_store, self.task.name, self._job(name), "purge")
        conditions = PurgeConditions(self.runs, self.run.id, self.task, opened)
        conditions.require_whole(work.plan, numbers)
        conditions.require_others(work.plan, self._job(name).source.connection)
        return path, work, ledger, conditions

    def _verify_unchanged(self, path: Path, plan: Plan) -> None:
        found = self._job_summary(plan.job)
        # What is built to replace a table is not the target yet.
        begun = found.batches_copied > 0 and (not plan.replaces or found.swapped_at is not None)
        path.verify_unchanged(plan, self._definition(), begun=begun)

    def _refuse_rolling_back(self, target: Located, plan: Plan) -> None:
        Rollbacks(self.database).refuse_open(f"{target.identity} {plan.target.label}")

    def _refuse_undone(self, name: str) -> None:
        refuse_undone(self.run.id, name, self.runs.job(self.run.id, name).undone_at)

    def _replacement(self, plan: Plan, ledger: SqlLedger) -> Replacing | None:
        """What a job replaces, and has not yet; ``None`` for any other job."""
        job = self._job(plan.job)
        if not plan.replaces or not isinstance(job, WarmJob):
            return None
        store = for_step(self.open_store, self.task.name, job, "swap")(job.target.connection)
        new = swapping.replacement(plan, ledger.run, store.dialect)
        replacing = Replacing(self.runs, self.run.id, self.task.name, plan, store, new)
        return None if replacing.settled else replacing

    @contextmanager
    def _limited(self, path: Path, work: Job[Any, Any]) -> Iterator[Job[Any, Any]]:
        """The same work, which begins no batch above the job's limits.

        Who waits holds a batch already: so nobody waits once there is none left to begin.
        """
        name = work.plan.job
        changes = LimitChanges(self.database, self.run.id)
        current = CurrentLimits(self._job(name), partial(changes.of, name), self.watch)
        with ExitStack() as stack:
            gauges = [stack.enter_context(closing(Gauge(limit))) for limit in path.limits]
            window = current.leave_outside_window if self.leaves else current.outside_window
            brakes: list[Brake] = [window, *gauges]
            pace = LimitedPace(work.pace, name, brakes, self.watch)
            bucket = Bucket(self.database, self.run.id, name)
            throttle = Throttle(pace, name, current.rates, bucket, self.watch)
            yield replace(work, throttle=throttle)

    @contextmanager
    def _recorded(self, name: str) -> Iterator[None]:
        """Records on the job how a step failed, and lets the error go on."""
        try:
            yield
        except Closed:
            raise
        except Terminated as error:
            self.runs.move(self.run.id, name, "terminated", str(error))
            raise
        except Exception as error:
            self.runs.move(self.run.id, name, "failed", _message(error))
            raise

    def _announce(self, name: str, action: str, plan: Plan) -> None:
        """The audit tells what is about to be deleted from a target."""
        what = {"table": plan.target.label, "connection": self._job(name).target.connection}
        self.runs.record(self.run.id, name, audit.SYSTEM, action, what)

    def _job_summary(self, name: str) -> JobSummary:
        found = next((j for j in self.summary().jobs if j.name == name), None)
        if found is None:
            raise ConfigError(f"job {name} of run {self.run.id} was not begun; plan it first")
        return found

    def _differing(self, name: str, found: JobSummary) -> str:
        first = self.runs.differences(self.run.id, name, most=3)
        examples = "; ".join(
            f"{d.difference.kind} {', '.join(d.difference.key)}"
            + (f" ({', '.join(d.difference.columns)})" if d.difference.columns else "")
            for d in first
        )
        return (
            f"job {name}: {found.rows_different:,} rows differ between source and target"
            + (f": {examples}" if examples else "")
            + f"; see dsp status {self.run.id} --differences"
        )

    def _require_copied(self, found: JobSummary) -> None:
        planned = self.runs.job(self.run.id, found.name).planned
        if not planned or found.batches_copied < found.batches:
            raise Refused(
                f"job {found.name}: {found.batches_copied} of {found.batches} batches are copied; "
                "finish the copy first"
            )

    def _through(self, name: str, *, checked: bool) -> bool:
        """Whether nothing is left to do: a step may be repeated after all others are done."""
        job, found = self._job(name), self._job_summary(name)
        checked = checked or job.check is None or found.batches_checked == found.batches > 0
        purged = job.purge != "system" or found.batches_purged == found.batches > 0
        deleted = found.deletion_done or not deletes_missing(job)
        swapped = found.swapped_at is not None or not replaces(job)
        return checked and purged and deleted and swapped

    def _move_cursor(self, name: str, plan: Plan, source: Located) -> None:
        """Everything up to the window's end is copied, and checked where that is asked for."""
        told = self._advance_of(name, source).move_cursor(plan, self._job_summary(name))
        if told:
            tell(self.watch, Noted(told))

    def _advance(self, name: str, plan: Plan, source: Located, *, purged: bool) -> None:
        """The step is through as far as the job goes: the next run takes the next one.

        ``purged``: what was copied is deleted, as far as it was proved.
        """
        if plan.step is not None and purged == (self._job(name).purge == "system"):
            told = self._advance_of(name, source).to_next(plan, self._job_summary(name))
            tell(self.watch, Noted(told))

    def _advance_of(self, name: str, source: Located) -> Advance:
        return Advance(self.runs, self.run.id, self.task.name, self._job(name), source)

    def _require_derived(self, path: Path, plan: Plan) -> None:
        """The stored plan is the one that definition and tables make."""
        given = self._given(self._job(plan.job))
        given = replace(given, window=plan.window, step=plan.step)
        anew, _ = path.plan(given, count=False)
        definition.verify_derived(plan, anew)


def deletes_missing(job: AnyJob) -> bool:
    """Whether a job deletes rows of the target that the source does not have."""
    return isinstance(job, WarmJob) and job.delete_missing is not None


def _is_proved(found: JobSummary) -> bool:
    return found.batches_checked == found.batches and not found.rows_different


def _message(error: BaseException) -> str:
    return str(error) if isinstance(error, DspError) else f"{type(error).__name__}: {error}"
