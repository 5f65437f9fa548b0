"""What differs between the types of jobs: how each is planned, copied, checked and purged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.belonging import ancestors
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Job as AnyJob
from dsp_airflow.config.tasks import Task
from dsp_airflow.endpoints import OpenStore
from dsp_airflow.engine import check as checking
from dsp_airflow.engine import definition, missing, transfer
from dsp_airflow.engine import plan as planning
from dsp_airflow.engine import purge as purging
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.limits import Limit, refuse_unknown
from dsp_airflow.engine.model import Batch, KeyRange, Plan, Window
from dsp_airflow.engine.ports import Endpoint, Ledger, Opens, Restores, Store, Tells
from dsp_airflow.engine.removal import Removal
from dsp_airflow.engine.step import Step
from dsp_airflow.engine.stepping import Stand
from dsp_airflow.engine.work import Job
from dsp_airflow.limits import limits_of
from dsp_airflow.naming import END, PREFIX, parents_of, plain
from dsp_airflow.permissions import settings
from dsp_airflow.permissions.needs import source_of
from dsp_airflow.purge_order import purged_beside
from dsp_airflow.state.bounds import Bound

if TYPE_CHECKING:
    from dsp_airflow.engine.archive.folder import RunFolder
    from dsp_airflow.engine.archive.manifest import Facts, Manifest
    from dsp_airflow.engine.stores.s3 import S3Store


@dataclass(frozen=True, slots=True)
class Given:
    """What a run gives to plan a job by."""

    variables: Mapping[str, Any]
    definition: str
    since: str | None = None
    window: Window | None = None
    bound: Bound | None = None
    step: Step | None = None

    @property
    def stand(self) -> Stand:
        """Where a job stands that goes by steps."""
        at = self.bound
        return Stand(
            bound=None if at is None else at.value,
            start=None if at is None else at.start,
            end=self.variables.get(END),
            step=self.step,
        )


class Path(Protocol):
    """One job's way, whatever its type."""

    @property
    def source(self) -> Endpoint:
        """Where it reads."""
        ...

    @property
    def limits(self) -> Sequence[Limit]:
        """How loaded servers may be when a batch begins."""
        ...

    def plan(self, given: Given, *, count: bool = True) -> tuple[Plan, Sequence[Batch]]:
        """See ``engine.plan.plan_job``."""
        ...

    def rows(self, plan: Plan) -> int:
        """How many there are to copy now."""
        ...

    def verify_unchanged(self, plan: Plan, digest: str, *, begun: bool) -> None:
        """Raises ``Refused`` unless definition, tables and endpoints are those of the plan."""
        ...

    def work(self, plan: Plan, ledger: Ledger) -> tuple[Opens[Any], Opens[Any]]:
        """What the engine's phases read from, and what they work on."""
        ...

    def copy(self, work: Job[Any, Any], variables: Mapping[str, Any]) -> None:
        """Copies what is not copied yet; ``variables`` as the run resolved them."""
        ...

    def check(self, work: Job[Any, Any]) -> None:
        """Compares what is not compared yet."""
        ...

    def purge(
        self,
        work: Job[Any, Any],
        numbers: Collection[int] | None,
        variables: Mapping[str, Any],
    ) -> None:
        """Deletes what is proved; ``variables`` as the run resolved them."""
        ...


def path_of(task: Task, job: AnyJob, open_store: OpenStore) -> Path:
    """The way of a job. ``ConfigError`` when a connection is none for its type."""
    if isinstance(job, RestoreJob):
        return RestorePath(task, job, _database(open_store, job, job.target.connection), open_store)
    source = _database(open_store, job, job.source.connection)
    if isinstance(job, S3Job):
        return ArchivePath(task, job, source, open_store)
    target = _database(open_store, job, job.target.connection)
    limits = limits_of(job, (source, target), open_store)
    return WarmPath(task, job, source, target, limits, purged_beside(task, job, open_store))


def _database(open_store: OpenStore, job: AnyJob, conn_id: str) -> Store:
    store = open_store(conn_id)
    if getattr(store, "system", None) == "s3":
        raise ConfigError(
            f"job {job.name}: connection {conn_id} leads to S3, which holds no tables; name a "
            "database, or write type: s3 with the connection under target"
        )
    return store


def _counted(source: Store, plan: Plan) -> int:
    if plan.step is not None and plan.step.waits:
        return 0
    with source.session() as session:
        return session.count(plan.source, KeyRange())


def _object_storage(open_store: OpenStore, job: AnyJob, conn_id: str) -> S3Store:
    from dsp_airflow.engine.stores.s3 import S3Store

    found: object = open_store(conn_id)
    if not isinstance(found, S3Store):
        raise ConfigError(
            f"job {job.name}: connection {conn_id} is no connection to S3; name one of type aws"
        )
    return found


@dataclass(frozen=True)
class WaitingPath:
    """Of a job whose step waits: there is nothing to do."""

    inner: Path

    @property
    def source(self) -> Endpoint:
        """See ``Path``."""
        return self.inner.source

    @property
    def limits(self) -> Sequence[Limit]:
        """See ``Path``: nothing is asked."""
        return ()

    def plan(self, given: Given, *, count: bool = True) -> tuple[Plan, Sequence[Batch]]:
        """See ``Path``."""
        return self.inner.plan(given, count=count)

    def rows(self, plan: Plan) -> int:
        """See ``Path``."""
        return self.inner.rows(plan)

    def verify_unchanged(self, plan: Plan, digest: str, *, begun: bool) -> None:
        """See ``Path``."""
        self.inner.verify_unchanged(plan, digest, begun=begun)

    def work(self, plan: Plan, ledger: Ledger) -> tuple[Opens[Any], Opens[Any]]:
        """See ``Path``."""
        return self.inner.work(plan, ledger)

    def copy(self, work: Job[Any, Any], variables: Mapping[str, Any]) -> None:
        """Creates nothing either."""

    def check(self, work: Job[Any, Any]) -> None:
        """There is nothing to compare."""

    def purge(
        self,
        work: Job[Any, Any],
        numbers: Collection[int] | None,
        variables: Mapping[str, Any],
    ) -> None:
        """Nor to delete."""


@dataclass(frozen=True)
class WarmPath:
    """From database to database."""

    task: Task
    job: WarmJob
    source: Store
    store: Store
    limits: Sequence[Limit] = ()
    beside: tuple[str, ...] = ()
    """Tables of the source that other jobs of the task purge."""

    def plan(self, given: Given, *, count: bool = True) -> tuple[Plan, Sequence[Batch]]:
        """See ``Path``."""
        refuse_unknown(self.job.name, self.limits)
        return planning.plan_job(
            self.job,
            self.source,
            self.store,
            plain(given.variables),
            given.definition,
            count=count,
            shared=self._shares_target(),
            purged_beside=self.beside,
            since=given.since,
            window=given.window,
            stand=given.stand,
            parents=parents_of(self.task, self.job, given.variables),
        )

    def rows(self, plan: Plan) -> int:
        """See ``Path``."""
        return _counted(self.source, plan)

    def verify_unchanged(self, plan: Plan, digest: str, *, begun: bool) -> None:
        """See ``Path``."""
        definition.verify_unchanged(plan, digest, self.source, self.store, begun=begun)

    def removed(self, plan: Plan) -> Removal | None:
        """Rows that it would take from its target now, as far as it takes any; nothing is done."""
        if plan.create or not (plan.replaces or self.job.delete_missing):
            return None
        source, target = self._ends()
        with target.session() as write:
            if plan.replaces:
                standing = write.count(plan.target, KeyRange())
                return Removal(standing, standing)
            with source.session() as read:
                return missing.counted(plan, read, write)

    def work(self, plan: Plan, ledger: Ledger) -> tuple[Opens[Any], Opens[Any]]:  # noqa: ARG002
        """Both databases."""
        return self._ends()

    def _ends(self) -> tuple[Opens[Any], Opens[Any]]:
        words = self.store.dialect
        if isinstance(self.source, Tells) and isinstance(words, Restores):
            return self.source.telling(words), self.store
        return self.source, self.store

    def copy(self, work: Job[Any, Any], variables: Mapping[str, Any]) -> None:  # noqa: ARG002
        """See ``Path``."""
        transfer.copy(work)

    def check(self, work: Job[Any, Any]) -> None:
        """See ``Path``."""
        checking.check(work)

    def purge(
        self,
        work: Job[Any, Any],
        numbers: Collection[int] | None,
        variables: Mapping[str, Any],  # noqa: ARG002
    ) -> None:
        """See ``Path``."""
        purging.purge(work, self.task.name, numbers)

    def _shares_target(self) -> bool:
        job = self.job
        mine = (job.target.connection, job.target_name)
        others = (j for j in self.task.jobs if isinstance(j, WarmJob) and j.name != job.name)
        return any((j.target.connection, j.target_name) == mine for j in others)


class ArchivePath:
    """From database to object storage. Arrow, DuckDB and the driver load when first needed."""

    def __init__(self, task: Task, job: S3Job, source: Store, open_store: OpenStore) -> None:
        self.task = task
        self.job = job
        self.source = source
        self.store = _object_storage(open_store, job, job.target.connection)
        self.limits: Sequence[Limit] = limits_of(job, (source,), open_store)
        self.beside = purged_beside(task, job, open_store)

    def plan(self, given: Given, *, count: bool = True) -> tuple[Plan, Sequence[Batch]]:
        """See ``Path``."""
        from dsp_airflow.engine.archive.planning import plan_archive

        refuse_unknown(self.job.name, self.limits)
        return plan_archive(
            self.job,
            self.task.name,
            self.source,
            self.store,
            plain(given.variables),
            given.variables[PREFIX],
            given.definition,
            count=count,
            since=given.since,
            window=given.window,
            stand=given.stand,
            purged_beside=self.beside,
            parents=parents_of(self.task, self.job, given.variables),
        )

    def rows(self, plan: Plan) -> int:
        """See ``Path``."""
        return _counted(self.source, plan)

    def verify_unchanged(self, plan: Plan, digest: str, *, begun: bool) -> None:  # noqa: ARG002
        """See ``Path``."""
        definition.verify_source_unchanged(plan, digest, self.source, self.store)

    def work(self, plan: Plan, ledger: Ledger) -> tuple[Opens[Any], Opens[Any]]:
        """The database, and the run's folder."""
        return self.source, self.folder(plan, ledger)

    def folder(self, plan: Plan, ledger: Ledger) -> RunFolder:
        """Where the run's objects lie."""
        from dsp_airflow.engine.archive.folder import RunFolder

        dialect = self.source.dialect
        if not isinstance(dialect, Restores):
            raise ConfigError(f"job {self.job.name}: {self.source.system} cannot be archived to S3")
        return RunFolder(self.store, plan, ledger.run, dialect)

    def facts(self, variables: Mapping[str, Any]) -> Facts:
        """What the manifest says beyond the plan; ``variables`` as the run resolved them."""
        from dsp_airflow.engine.archive.manifest import Facts

        return Facts(self.task.name, plain(variables), self.source.system, self.source.identity)

    def copy(self, work: Job[Any, Any], variables: Mapping[str, Any]) -> None:
        """See ``Path``."""
        from dsp_airflow.engine.archive import steps

        steps.copy(work, self.facts(variables))

    def check(self, work: Job[Any, Any]) -> None:
        """See ``Path``."""
        from dsp_airflow.engine.archive import steps

        steps.check(work)

    def purge(
        self,
        work: Job[Any, Any],
        numbers: Collection[int] | None,
        variables: Mapping[str, Any],
    ) -> None:
        """See ``Path``."""
        from dsp_airflow.engine.archive import steps

        steps.purge(work, self.facts(variables), numbers)


class RestorePath:
    """From object storage back to a database."""

    limits: Sequence[Limit] = ()

    def __init__(self, task: Task, job: RestoreJob, store: Store, open_store: OpenStore) -> None:
        self.task = task
        self.job = job
        self.store = store
        self.archive = _object_storage(open_store, job, job.source.connection)
        if settings.enforced():
            # A grant is on a folder, and a manifest may name any object there is.
            place = source_of(job)
            self.archive = self.archive.within(job.source.bucket, place.prefix)
        self._known: Manifest | None = None

    @property
    def source(self) -> Endpoint:
        """The archive."""
        return self.archive

    def plan(self, given: Given, *, count: bool = True) -> tuple[Plan, Sequence[Batch]]:  # noqa: ARG002
        """See ``Path``."""
        from dsp_airflow.engine.archive.restoring import plan_restore

        plan, batches = plan_restore(
            self.job,
            self._manifest(),
            self.archive,
            self._target(),
            self._bound(given.definition),
            ancestors(self.job.name, self.task.jobs),
        )
        if self.job.drill is not None and not plan.create:
            raise Refused(
                f"job {self.job.name}: {plan.target.label} is there already, and a drill restores "
                "to a table of its own"
            )
        return plan, batches

    def rows(self, plan: Plan) -> int:
        """What the archive has of them, whatever the filter."""
        return plan.rows

    def verify_unchanged(self, plan: Plan, digest: str, *, begun: bool) -> None:
        """See ``Path``."""
        bound = self._bound(digest)
        definition.verify_target_unchanged(plan, bound, self.archive, self._target(), begun=begun)

    def work(self, plan: Plan, ledger: Ledger) -> tuple[Opens[Any], Opens[Any]]:  # noqa: ARG002
        """See ``Path``."""
        from dsp_airflow.engine.archive.reader import ArchivedRun
        from dsp_airflow.engine.archive.restoring import restored_columns, restored_kinds

        manifest = self._manifest()
        if manifest.of_files:
            from dsp_airflow.engine.archive.gridfs.reader import ArchivedFiles

            return ArchivedFiles(self.archive, manifest), self._target()
        columns = restored_columns(manifest, plan.target_shape)
        kinds = restored_kinds(manifest, plan.target_shape)
        return ArchivedRun(self.archive, manifest, self.store, columns, kinds), self.store

    def copy(self, work: Job[Any, Any], variables: Mapping[str, Any]) -> None:  # noqa: ARG002
        """See ``Path``."""
        transfer.copy(work)

    def check(self, work: Job[Any, Any]) -> None:
        """See ``Path``."""
        checking.check(work)

    def purge(
        self,
        work: Job[Any, Any],  # noqa: ARG002
        numbers: Collection[int] | None,  # noqa: ARG002
        variables: Mapping[str, Any],  # noqa: ARG002
    ) -> None:
        """Never: an archive is not purged."""
        raise Refused(f"job {self.job.name} restores; there is nothing to purge")

    def _target(self) -> Store:
        """Where rows go; what the archive holds tells whether they are files."""
        if not self._manifest().of_files:
            return self.store
        from dsp_airflow.engine.archive.gridfs.restoring import buckets_of

        return buckets_of(self.job, self.store)

    def _manifest(self) -> Manifest:
        from dsp_airflow.engine.archive.manifest import read_manifest

        if self._known is None:
            source = self.job.source
            bucket = self.archive.bucket(source.bucket)
            if source.manifest is None:
                raise ConfigError(f"job {self.job.name}: source needs manifest")
            self._known = read_manifest(bucket, source.manifest, source.sha256)
        return self._known

    def _bound(self, definition: str) -> str:
        """What was planned is bound to this very manifest."""
        return f"{definition} {self._manifest().digest}"
