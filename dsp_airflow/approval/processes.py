"""All approval processes: those in files, and those that were made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, delete, insert, select, update

from dsp_airflow.approval import people, settings
from dsp_airflow.approval.matching import Ask, process_for
from dsp_airflow.config.errors import nearest
from dsp_airflow.config.messages import in_words
from dsp_airflow.config.process_loading import BrokenFile, load_processes
from dsp_airflow.config.processes import MATCH, Process, process_values
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.state import audit
from dsp_airflow.state.codec import canonical
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import PROCESSES


@dataclass(frozen=True, slots=True)
class Known:
    """A process and where it comes from. One of a file has the path, and is changed there."""

    process: Process
    file: Path | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    changed_by: str | None = None
    changed_at: datetime | None = None


class Processes:
    """The processes of a state database and of a folder. Changes are audited.

    A file stays as it is: whoever may write it is who may change what it says. ``founding``: see
    ``people.Roles``.
    """

    def __init__(
        self, database: StateDatabase, folder: Path | None = None, *, founding: bool = True
    ) -> None:
        self.database = database
        self._founding = founding
        self.folder = folder or settings.processes_folder()
        self._named = folder is None and settings.names_processes_folder()

    def all(self) -> list[Known]:
        """Those that are whole, by type and in the order in which they are tried."""
        found, _ = self._files()
        with self.database.read() as connection:
            rows = connection.execute(select(PROCESSES)).all()
        known = [Known(process, path) for path, process in found]
        known += [_known(row) for row in rows]
        return sorted(
            known, key=lambda k: (k.process.task_type, k.process.priority, k.process.name)
        )

    def broken(self) -> list[BrokenFile]:
        """The files with errors."""
        return self._files()[1]

    def get(self, name: str) -> Known:
        """One by its name; ``ConfigError`` when there is none."""
        known = self.all()
        found = next((one for one in known if one.process.name == name), None)
        if found is None:
            near = nearest(name, [one.process.name for one in known])
            hint = f"; did you mean {near}?" if near else "; see dsp process list"
            raise ConfigError(f"there is no approval process {name!r}{hint}")
        return found

    def process_for(self, ask: Ask, named: str = MATCH) -> Process:
        """See ``matching.process_for``.

        ``Refused`` while a file that might hold the process, or the folder that was named, cannot
        be read: something weaker must not take its place.
        """
        if self._named and not self.folder.is_dir():
            raise Refused(
                f"nobody can be asked: [dsp] processes_folder is {self.folder}, which is not there"
            )
        _, broken = self._files()
        for one in broken:
            if one.task_type in {None, ask.task_type}:
                raise Refused(
                    f"nobody can be asked while the process file {one.path} has errors: "
                    f"{one.problems.problems[0]}"
                )
        known = self.all()
        names = [one.process.name for one in known]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Refused(
                f"process {twice[0]} is both a file and in {self.database.label}; delete one"
            )
        processes = [one.process for one in known]
        return process_for(processes, ask, named=named, default=settings.default_process())

    # Changes

    def create(self, process: Process, actor: str) -> None:
        """A new one; ``ConfigError`` when the name is taken."""
        with self.database.write() as connection:
            self._require_administrator(connection, actor)
            if process.name in self._taken(connection):
                raise ConfigError(f"there is an approval process {process.name} already")
            now = clock(connection)
            values = {"created_by": actor, "created_at": now, "changed_by": actor}
            connection.execute(
                insert(PROCESSES).values(
                    name=process.name, **_columns(process), **values, changed_at=now
                )
            )
            _record(connection, actor, "process.create", None, process)

    def edit(self, name: str, process: Process, actor: str) -> None:
        """Puts the process in the place of the one of this name. Requests keep what they have."""
        with self.database.write() as connection:
            before = self._own(connection, name, actor)
            if process.name != name and process.name in self._taken(connection):
                raise ConfigError(f"there is an approval process {process.name} already")
            self._put(connection, name, process, actor)
            _record(connection, actor, "process.edit", before, process)

    def enable(self, name: str, actor: str, *, enabled: bool = True) -> None:
        """Offers it to new requests, or no longer."""
        with self.database.write() as connection:
            before = self._own(connection, name, actor)
            process = before.model_copy(update={"enabled": enabled})
            self._put(connection, name, process, actor)
            action = "process.enable" if enabled else "process.disable"
            _record(connection, actor, action, before, process)

    def reorder(self, task_type: str, names: Sequence[str], actor: str) -> None:
        """Gives these the priorities 1, 2, 3 ...; the others of the type come after them."""
        if len(set(names)) < len(names):
            raise ConfigError("a process was named twice")
        with self.database.write() as connection:
            others = [
                row.name
                for row in connection.execute(
                    select(PROCESSES.c.name, PROCESSES.c.priority)
                    .where(PROCESSES.c.task_type == task_type)
                    .order_by(PROCESSES.c.priority, PROCESSES.c.name)
                )
                if row.name not in names
            ]
            for number, name in enumerate([*names, *others], 1):
                before = self._own(connection, name, actor)
                if before.task_type != task_type:
                    raise ConfigError(f"process {name} is for tasks of type {before.task_type}")
                process = before.model_copy(update={"priority": number})
                if process != before:
                    self._put(connection, name, process, actor)
                    _record(connection, actor, "process.reorder", before, process)

    def delete(self, name: str, actor: str) -> None:
        """Removes it. Requests keep what they have."""
        with self.database.write() as connection:
            before = self._own(connection, name, actor)
            connection.execute(delete(PROCESSES).where(PROCESSES.c.name == name))
            _record(connection, actor, "process.delete", before, None)

    # Helpers

    def _files(self) -> tuple[list[tuple[Path, Process]], list[BrokenFile]]:
        return load_processes(self.folder)

    def _taken(self, connection: Connection) -> set[str]:
        names = set(connection.execute(select(PROCESSES.c.name)).scalars())
        return names | {process.name for _, process in self._files()[0]}

    def _require_administrator(self, connection: Connection, actor: str) -> None:
        what = "approval processes"
        people.require_administrator(connection, actor, what, founding=self._founding)

    def _own(self, connection: Connection, name: str, actor: str) -> Process:
        """The process of this name, locked, once it is known that the actor may change it."""
        self._require_administrator(connection, actor)
        query = select(PROCESSES).where(PROCESSES.c.name == name).with_for_update()
        row = connection.execute(query).one_or_none()
        if row is not None:
            return _process(row)
        for path, process in self._files()[0]:
            if process.name == name:
                raise Refused(f"process {name} is the file {path}; change it there")
        raise ConfigError(f"there is no approval process {name!r}; see dsp process list")

    def _put(self, connection: Connection, name: str, process: Process, actor: str) -> None:
        connection.execute(
            update(PROCESSES)
            .where(PROCESSES.c.name == name)
            .values(
                name=process.name,
                **_columns(process),
                changed_by=actor,
                changed_at=clock(connection),
            )
        )


def _columns(process: Process) -> dict[str, Any]:
    return {
        "task_type": process.task_type,
        "body": canonical(process_values(process)),
        "enabled": process.enabled,
        "priority": process.priority,
    }


def _process(row: Any) -> Process:
    try:
        return Process.model_validate(
            json.loads(row.body)
            | {
                "name": row.name,
                "task_type": row.task_type,
                "enabled": row.enabled,
                "priority": row.priority,
            }
        )
    except (ValueError, ValidationError) as error:
        why = in_words(error) if isinstance(error, ValidationError) else str(error)
        raise ConfigError(f"process {row.name} in the state database is damaged: {why}") from error


def _known(row: Any) -> Known:
    return Known(
        _process(row), None, row.created_by, row.created_at, row.changed_by, row.changed_at
    )


def _record(
    connection: Connection, actor: str, action: str, before: Process | None, after: Process | None
) -> None:
    named = after or before
    audit.record(
        connection,
        actor=actor,
        action=action,
        object=f"process {named.name if named else ''}",
        before=None if before is None else process_values(before),
        after=None if after is None else process_values(after),
    )
