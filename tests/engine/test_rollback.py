"""What a run wrote is undone exactly, and only what the source still has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.engine import rollback
from dsp_airflow.engine.errors import Refused, Transient
from dsp_airflow.state.rollbacks import Rollback
from dsp_airflow.steps import TaskRun
from dsp_airflow.undoing import undo_of
from tests.engine.anywhere import databases
from tests.mongo.cross import Cross
from tests.servers import Database

PAIRS = ["pg18-pg18", "mariadb-pg18"]


@dataclass
class Scene:
    """Rows 1 to 60 in the source; in the target rows 1 to 20, of which ten differ, and others."""

    bench: Cross

    @property
    def source(self) -> Any:
        return self.bench.source

    @property
    def target(self) -> Any:
        return self.bench.target

    def fill(self) -> None:
        kind = "decimal(12,3)"
        for database in (self.source, self.target):
            text = "text" if isinstance(database, Database) else "varchar(200)"
            extra = "" if database is self.source else f", own {text} DEFAULT 'mine'"
            database.execute(
                f"CREATE TABLE t (id int PRIMARY KEY, v {text}, n {kind}, at timestamp NULL{extra})"
            )
        rows = ", ".join(f"({n}, 'v{n}', {n}.5, '2024-01-01 00:00:01')" for n in range(1, 61))
        self.source.execute(f"INSERT INTO t VALUES {rows}")
        there = [f"({n}, 'v{n}', {n}.5, '2024-01-01 00:00:01', 'o{n}')" for n in range(1, 11)]
        there += [f"({n}, 'Old', NULL, NULL, 'o{n}')" for n in range(11, 21)]
        there += [f"({n}, 'else', 1, NULL, NULL)" for n in (55, 1000)]
        self.target.execute(f"INSERT INTO t VALUES {', '.join(there)}")

    def configure(self, **more: Any) -> None:
        self.bench.write(self.bench.warm(rollback=True, batch_size=15, **more))

    def rows(self) -> list[Any]:
        return sorted(self.target.rows("SELECT * FROM t"))

    def undo(self, work: TaskRun | None = None) -> Rollback:
        return undo_of(work or self.bench.latest(), "copy").do("somebody")

    def tables(self) -> list[str]:
        query = (
            "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'dsp%%before%%'"
        )
        return [str(name) for (name,) in self.target.rows(query)]


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        made = Scene(Cross(tmp_path, *databases(request, stack, *request.param.split("-"))))
        made.fill()
        yield made


@pytest.mark.parametrize("on_conflict", ["update", "ignore"])
@pytest.mark.parametrize("scene", PAIRS, indirect=True)
def test_all_of_a_run(scene: Scene, on_conflict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.configure(on_conflict=on_conflict)
    before = scene.rows()
    scene.bench.run()
    written = scene.rows()
    assert len(written) == 61
    work = scene.bench.latest()
    found = undo_of(work, "copy").look()
    updated = 11 if on_conflict == "update" else 0
    assert (found.removed, found.restored, found.changed, found.only_here) == (39, updated, 0, 0)
    # Killed after one transaction: what is committed is written down with it.
    monkeypatch.setattr(rollback, "CHUNK", 7)
    plain, calls = rollback._undo, list[int]()

    def dies(*args: Any) -> bool:
        if len(calls) == 2:
            raise Transient("killed")
        calls.append(1)
        return plain(*args)

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "_undo", dies)
        with pytest.raises(Transient, match="killed"):
            scene.undo(work)
    assert before != scene.rows() != written
    # Nobody goes on with it: its records say that all is copied.
    with pytest.raises(Refused, match="was rolled back"):
        work.copy("copy")
    with pytest.raises(Refused, match="is being rolled back"):
        scene.bench.run(new=True)
    done = scene.undo(work)
    assert (done.removed, done.restored, done.kept, list(done.report)) == (39, updated, 0, [])
    assert scene.rows() == before
    assert scene.tables() == []
    # The next run is a new one.
    scene.bench.run()
    assert scene.rows() == written
    assert scene.bench.latest().run.id != work.run.id
