"""What differs between the types of jobs: how each is planned, copied, checked and purged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.jobs import TableJob, WarmJob
from dsp_airflow.config.tasks import Job as AnyJob
from dsp_airflow.config.tasks import Task
from dsp_airflow.endpoints import OpenStore
from dsp_airflow.engine import check as checking
from dsp_airflow.engine import definition, transfer
from dsp_airflow.engine import plan as planning
from dsp_airflow.engine import purge as purging
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Batch, Plan, Window
from dsp_airflow.engine.ports import Ledger, Restores, Store
from dsp_airflow.engine.work import Job

PREFIX = "{prefix}"
"""Among a run's resolved variables, where an S3 job's folder stands; no variable has this name."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a run gives to plan a job by."""

    variables: Mapping[str, Any]
    definition: str
    since: str | None = None
    window: Window | None = None


class Path(Protocol):
    """One job's way, whatever its type."""

    @property
    def source(self) -> Store:
        """Where it reads."""
        ...

    def plan(self, given: Given, *, count: bool = True) -> tuple[Plan, Sequence[Batch]]:
        """See ``engine.plan.plan_job``."""
        ...

    def verify_unchanged(self, plan: Plan, digest: str, *, begun: bool) -> None:
        """Raises ``Refused`` unless definition, tables and endpoints are those of the plan."""
        ...

    def target(self, plan: Plan, ledger: Ledger) -> Any:
        """What the engine's phases work on."""
        ...

    def copy(self, work: Job[Any], variables: Mapping[str, Any]) -> None:
        """Copies what is not copied yet; ``variables`` as the run resolved them."""
        ...

    def check(self, work: Job[Any]) -> None:
        """Compares what is not compared yet."""
        ...

    def purge(self, work: Job[Any], numbers: Collection[int] | None) -> None:
        """Deletes what is proved."""
        ...


def path_of(task: Task, job: AnyJob, open_store: OpenStore) -> Path:
    """The way of a job. ``ConfigError`` when a connection is none for its type."""
    source = database(open_store, job)
    if isinstance(job, S3Job):
        return ArchivePath(task, job, source, open_store)
    found: object = open_store(job.target.connection)
    _refuse_s3(found, job, job.target.connection)
    return WarmPath(task, job, source, open_store(job.target.connection))


def database(open_store: OpenStore, job: TableJob) -> Store:
    """The store a job reads from."""
    store = open_store(job.source.connection)
    _refuse_s3(store, job, job.source.connection)
    return store


def _refuse_s3(store: object, job: TableJob, conn_id: str) -> None:
    if getattr(store, "system", None) == "s3":
        raise ConfigError(
            f"job {job.name}: connection {conn_id} leads to S3, which holds no tables; name a "
            "database, or write type: s3 with the connection under target"
        )


@dataclass(frozen=True)
class WarmPath:
    """From database to database."""

    task: Task
    job: WarmJob
    source: Store
    store: Store

    def plan(self, given: Given, *, count: bool = True) -> tuple[Plan, Sequence[Batch]]:
        """See ``Path``."""
        return planning.plan_job(
            self.job,
            self.source,
            self.store,
            given.variables,
            given.definition,
            count=count,
            shared=self._shares_target(),
            since=given.since,
            window=given.window,
        )

    def verify_unchanged(self, plan: Plan, digest: str, *, begun: bool) -> None:
        """See ``Path``."""
        definition.verify_unchanged(plan, digest, self.source, self.store, begun=begun)

    def target(self, plan: Plan, ledger: Ledger) -> Any:  # noqa: ARG002
        """The database."""
        return self.store

    def copy(self, work: Job[Any], variables: Mapping[str, Any]) -> None:  # noqa: ARG002
        """See ``Path``."""
        transfer.copy(work)

    def check(self, work: Job[Any]) -> None:
        """See ``Path``."""
        checking.check(work)

    def purge(self, work: Job[Any], numbers: Collection[int] | None) -> None:
        """See ``Path``."""
        purging.purge(work, self.task.name, numbers)

    def _shares_target(self) -> bool:
        job = self.job
        mine = (job.target.connection, job.target_table)
        others = (j for j in self.task.jobs if isinstance(j, WarmJob) and j.name != job.name)
        return any((j.target.connection, j.target_table) == mine for j in others)


class ArchivePath:
    """From database to object storage. Arrow, DuckDB and the driver load when first needed."""

    def __init__(self, task: Task, job: S3Job, source: Store, open_store: OpenStore) -> None:
        from dsp_airflow.engine.stores.s3 import S3Store

        found: object = open_store(job.target.connection)
        if not isinstance(found, S3Store):
            raise ConfigError(
                f"job {job.name}: connection {job.target.connection} is no connection to S3; "
                "name one of type aws"
            )
        self.task = task
        self.job = job
        self.source = source
        self.store = found

    def plan(self, given: Given, *, count: bool = True) -> tuple[Plan, Sequence[Batch]]:
        """See ``Path``."""
        from dsp_airflow.engine.archive.planning import plan_archive

        variables = dict(given.variables)
        prefix = variables.pop(PREFIX)
        return plan_archive(
            self.job,
            self.task.name,
            self.source,
            self.store,
            variables,
            prefix,
            given.definition,
            count=count,
        )

    def verify_unchanged(self, plan: Plan, digest: str, *, begun: bool) -> None:  # noqa: ARG002
        """See ``Path``."""
        definition.verify_source_unchanged(plan, digest, self.source, self.store)

    def target(self, plan: Plan, ledger: Ledger) -> Any:
        """The run's folder."""
        from dsp_airflow.engine.archive.folder import RunFolder

        dialect = self.source.dialect
        if not isinstance(dialect, Restores):
            raise ConfigError(f"job {self.job.name}: {self.source.system} cannot be archived to S3")
        return RunFolder(self.store, plan, ledger.run, dialect)

    def copy(self, work: Job[Any], variables: Mapping[str, Any]) -> None:
        """See ``Path``."""
        from dsp_airflow.engine.archive import steps
        from dsp_airflow.engine.archive.manifest import Facts

        known = {name: value for name, value in variables.items() if name != PREFIX}
        facts = Facts(self.task.name, known, self.source.system, self.source.identity)
        steps.copy(work, facts)

    def check(self, work: Job[Any]) -> None:
        """See ``Path``."""
        from dsp_airflow.engine.archive import steps

        steps.check(work)

    def purge(self, work: Job[Any], numbers: Collection[int] | None) -> None:
        """See ``Path``."""
        from dsp_airflow.engine.archive import steps

        steps.purge(work, self.task.name, numbers)
