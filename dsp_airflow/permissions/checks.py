"""What stands between a step and the data: whether those who answer for it hold the grants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from shlex import quote
from typing import Protocol, TypeAlias

from sqlalchemy import Connection

from dsp_airflow.config import templates
from dsp_airflow.config.names import split_table
from dsp_airflow.config.tasks import Job, Task
from dsp_airflow.engine.errors import ConfigError, Denied
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.resolved import Resolves
from dsp_airflow.permissions import needs, settings
from dsp_airflow.permissions.administrators import administrators
from dsp_airflow.permissions.grants import Needed, Scope
from dsp_airflow.permissions.needs import Act, Place, Touch
from dsp_airflow.permissions.store import holds, who_gives
from dsp_airflow.state.database import StateDatabase

Opened: TypeAlias = Callable[[str], Store]
"""Gives the store of an Airflow connection id."""
_SAMPLE = "dsp_any_name"
_CONTAINERS: Mapping[str, str] = {"postgres": "schema", "s3": "bucket"}
"""What the option of ``dsp grant`` is called that names one; ``database`` for the other systems."""


class Permit(Protocol):
    """Asked by each step of a run as it begins, before any data is touched."""

    def require(self, task: Task, job: Job, opened: Opened) -> None:
        """``Denied`` unless those who answer for the work hold every grant that it needs."""
        ...


class OpenPermit:
    """Nothing has to be granted."""

    def require(self, task: Task, job: Job, opened: Opened) -> None:
        """See ``Permit``."""


class ClosedPermit:
    """Nobody answers for the work: a way into the data that asks for no grants."""

    def require(self, task: Task, job: Job, opened: Opened) -> None:  # noqa: ARG002
        """See ``Permit``."""
        raise Denied(
            f"job {job.name}: [dsp] enforce_grants is on, and nobody was said to answer for this"
        )


class Granted:
    """Lets work begin that its people were granted.

    The task's owner needs what a run does, in all of its jobs. ``person``, who started it, needs to
    read all that it touches, and what is done by hand: it was not the owner who asked for that.
    ``None``: nobody did, as of a scheduled run.
    """

    def __init__(self, database: StateDatabase, owner: str, person: str | None, act: Act) -> None:
        self._database = database
        self._owner = owner
        self._person = person
        self._act = act

    def require(self, task: Task, job: Job, opened: Opened) -> None:
        """See ``Permit``."""
        self._require(f"task {task.name}", self._wanted(task, job), opened)

    def require_reading(self, places: Iterable[Place], opened: Opened) -> None:
        """``Denied`` unless the person may read these places, which belong to no job."""
        touches = [Touch("read", place) for place in places]
        self._require("reading", _of(self._person, "who asked for this", touches), opened)

    def _require(self, what: str, wanted: list[_Wanted], opened: Opened) -> None:
        # What the grants say of whole connections needs no look into any database.
        with self._database.read() as connection:
            known = administrators(connection)
            open_ = [
                one
                for one in wanted
                if one.user not in known and not one.held(connection, _whole(one.touch.place))
            ]
        with ExitStack() as stack:
            catalogs = _Catalogs(opened, stack)
            needed = {one.touch.place: catalogs.needed(one.touch.place) for one in open_}
        with self._database.read() as connection:
            missing = [
                (one, needed[one.touch.place])
                for one in open_
                if not one.held(connection, needed[one.touch.place])
            ]
            told = [_told(connection, one, place, opened) for one, place in missing]
        if told:
            raise Denied(f"{what}: nothing was touched: {'; '.join(told)}")

    def _wanted(self, task: Task, job: Job) -> list[_Wanted]:
        person = self._person
        if self._act == "run":
            return [
                *self._of_owner(task, needs.of_run(task)),
                *_of(person, "who started this", needs.of_looking(task, task.jobs)),
            ]
        if self._act == "archive":
            return self._of_asker(task, needs.of_archive(task, job))
        looks = _of(person, "who asked for this", needs.of_looking(task, (job,)))
        if self._act == "restore":
            # Whoever asks for it says what is restored, and where to.
            return [*looks, *self._of_asker(task, needs.of_run(task))]
        if self._act == "rollback":
            undoes = needs.of_rollback(task, job)
            return [*self._of_owner(task, undoes), *_of(person, "who asked for this", undoes)]
        if self._act == "purge":
            deletes = needs.of_purge(job)
            return [
                *self._of_owner(task, deletes),
                *looks,
                *_of(person, "who asked for this", deletes),
            ]
        return looks or self._of_owner(task, needs.of_looking(task, (job,)))

    def _of_owner(self, task: Task, touches: list[Touch]) -> list[_Wanted]:
        if not self._owner:
            raise Denied(
                f"task {task.name} has no owner, who would need grants for what it does; write "
                "owner: into its file, or give the operators one"
            )
        return _of(self._owner, f"owner of task {task.name}", touches)

    def _of_asker(self, task: Task, touches: list[Touch]) -> list[_Wanted]:
        if self._person is None:
            return self._of_owner(task, touches)
        return _of(self._person, "who asked for this", touches)


class _Catalogs:
    """What names stand for now: one session for each connection, as long as it is asked."""

    def __init__(self, opened: Opened, stack: ExitStack) -> None:
        self._opened = opened
        self._stack = stack
        self._sessions: dict[str, Resolves] = {}

    def needed(self, place: Place) -> Needed:
        """The place by the names that the catalog has."""
        if place.bucket is not None:
            path = place.prefix is not None
            return Needed(Scope(place.connection, place.bucket, place.prefix, is_path=path))
        if place.table is None:
            return _whole(place)
        session = self._session(place.connection)
        parts = templates.split_target(place.table)
        left_open = [templates.is_template(part) for part in parts]
        if not any(left_open):
            found = session.resolved(place.table)
            return Needed(Scope(place.connection, found.schema, found.name), folds=found.folds)
        if left_open[0] and len(parts) > 1:
            return _whole(place)
        found = session.resolved(_sample(parts))
        if len(parts) == 1 and not found.alone:
            return _whole(place)
        return Needed(Scope(place.connection, found.schema), folds=found.folds)

    def _session(self, name: str) -> Resolves:
        if name not in self._sessions:
            session = self._stack.enter_context(self._opened(name).session())
            if not isinstance(session, Resolves):
                raise ConfigError(f"connection {name} does not tell what names stand for")
            self._sessions[name] = session
        return self._sessions[name]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Somebody has to be allowed something, in a capacity."""

    user: str
    capacity: str
    touch: Touch

    def held(self, connection: Connection, needed: Needed) -> bool:
        return holds(connection, self.user, self.touch.privilege, needed)


def permit_of(database: StateDatabase, owner: str, person: str | None, act: Act = "run") -> Permit:
    """The permit of work that these people answer for, as the installation asks for it."""
    if not settings.enforced():
        return OpenPermit()
    return Granted(database, owner, person, act)


def require_reading(
    database: StateDatabase, person: str, places: Iterable[Place], opened: Opened
) -> None:
    """``Denied`` unless the person may read these places, as the installation asks for it."""
    if settings.enforced():
        Granted(database, "", person, "look").require_reading(places, opened)


def not_approvable(connection: Connection, user: str, names: Iterable[str]) -> list[str]:
    """The connections whose work the user may not agree to; none where nothing is enforced."""
    if not settings.enforced() or user in administrators(connection):
        return []
    return [name for name in names if not holds(connection, user, "approve", Needed(Scope(name)))]


def require_approving(connection: Connection, user: str, names: Iterable[str]) -> None:
    """``Denied`` unless the user may agree to work on all of these connections."""
    missing = not_approvable(connection, user, names)
    if missing:
        givers = ", ".join(sorted(who_gives(connection, Scope(missing[0])))) or "nobody yet"
        raise Denied(
            f"{user} has no grant to approve work on connection {', '.join(missing)}; who can give "
            f"it: {givers}: dsp grant add {user} {missing[0]} approve"
        )


def default_permit() -> Permit:
    """Of a run that nobody gave one."""
    return ClosedPermit() if settings.enforced() else OpenPermit()


def _of(user: str | None, capacity: str, touches: Iterable[Touch]) -> list[_Wanted]:
    return [] if user is None else [_Wanted(user, capacity, touch) for touch in touches]


def _whole(place: Place) -> Needed:
    return Needed(Scope(place.connection))


def _sample(parts: tuple[str, ...]) -> str:
    """A name of the same schema, where the run gives the last part."""
    quoted = ['"' + part.replace('"', '""') + '"' for part in parts[:-1]]
    sample = ".".join([*quoted, _SAMPLE])
    split_table(sample)
    return sample


def _told(connection: Connection, wanted: _Wanted, needed: Needed, opened: Opened) -> str:
    """Which grant is missing, and who can give it how."""
    scope, privilege = needed.scope, wanted.touch.privilege
    options = ""
    if scope.container is not None:
        system = opened(scope.connection).system
        options += f" --{_CONTAINERS.get(system, 'database')} {quote(scope.container)}"
    if scope.item is not None:
        options += f" --{'prefix' if scope.is_path else 'table'} {quote(scope.item)}"
    givers = ", ".join(sorted(who_gives(connection, scope)))
    who = f"{givers} can give it" if givers else "name an administrator, who can give it"
    return (
        f"{wanted.user} ({wanted.capacity}) has no grant to {privilege} {scope}: {who}: "
        f"dsp grant add {wanted.user} {scope.connection} {privilege}{options}"
    )
