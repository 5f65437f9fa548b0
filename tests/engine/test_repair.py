"""What a check found to differ is copied again, between any two systems, however often begun."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.engine.errors import Mismatch, Refused, Transient
from dsp_airflow.repairing import repair, repairable
from dsp_airflow.state.records import JobSummary
from dsp_airflow.state.repairs import Repairs
from dsp_airflow.steps import TaskRun
from tests.engine.anywhere import databases
from tests.faults.tables import document, fill, job_of, rows_of
from tests.mysql.pairs import Pair
from tests.servers import MongoDatabase

ROWS = 60
PAIRS = ["pg18-pg18", "mariadb-mariadb", "mongo-mongo", "pg18-mysql", "mongo-pg18"]
SELDOM = ["mysql-mysql", "pg18-mariadb", "mariadb-pg18", "pg18-mongo"]


def damage(target: Any) -> None:
    """Somebody takes two rows of batches 2 and 4, changes one, and adds one of his own."""
    if isinstance(target, MongoDatabase):
        target["t"].delete_many({"_id": {"$in": [12, 35]}})
        target["t"].update_one({"_id": 14}, {"$set": {"name": "other"}})
        target["t"].insert_one(document(1000))
        return
    target.execute(
        "DELETE FROM t WHERE id IN (12, 35)",
        "UPDATE t SET name = 'other' WHERE id = 14",
        "INSERT INTO t (id, name) VALUES (1000, 'own')",
    )


def attempts(work: TaskRun) -> dict[int, int]:
    return {one.number: one.attempts for one in work.runs.batches(work.run.id, "copy")}


@pytest.mark.parametrize(
    "servers", [*PAIRS, *(pytest.param(way, marks=pytest.mark.soak) for way in SELDOM)]
)
def test_a_repair_that_is_killed_ends_as_one_that_is_not(
    servers: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        pair = Pair(tmp_path, *databases(request, stack, *servers.split("-")))
        fill(pair.source, ROWS)
        fill(pair.target, 0)
        pair.write({**job_of(pair, batch_size=10, check={"percent": 100}), "purge": "none"})
        pair.run()
        work = pair.latest()
        with pytest.raises(Refused, match=r"no check of run .* has found a row to differ"):
            repairable(work, None)
        copied = rows_of(pair.target)
        damage(pair.target)
        with pytest.raises(Mismatch, match="3 rows differ"):
            work.check_again("copy")
        tries = attempts(work)

        def killed(*args: Any) -> Any:
            raise Transient("killed")

        def mended() -> JobSummary:
            (name,) = repairable(work, None)
            return repair(work, name, "somebody")

        # Killed when the batches are open again, and when they are copied.
        for step in ("copy", "check"):
            with monkeypatch.context() as patch:
                patch.setattr(TaskRun, step, killed)
                with pytest.raises(Transient, match="killed"):
                    mended()
            (begun,) = Repairs(work.database).of_run(work.run.id)
            assert (list(begun.batches), begun.rows_found, begun.ended_at) == ([2, 4], 3, None)
        found = mended()
        assert (found.rows_different, found.rows_checked) == (0, ROWS)
        assert work.summary().jobs[0].state == "succeeded"
        assert [row for row in rows_of(pair.target) if row[0] != 1000] == copied
        assert len(rows_of(pair.target)) == ROWS + 1
        # Those that were right are not touched.
        assert {n for n, times in attempts(work).items() if times > tries[n]} == {2, 4}
        with pytest.raises(Refused, match=r"no check of run .* has found a row to differ"):
            repairable(work, None)
