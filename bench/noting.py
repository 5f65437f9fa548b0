"""The leg of ``rollback: true``: what it costs to note what is written, on every system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench import measure, mongodb, mystage, tables
from bench.measure import Contest, FailedError, Sample
from bench.mongodb import MongoStage
from bench.mystage import MyStage
from bench.report import Report
from bench.stage import TARGET, Stage, Task
from bench.tables import TABLE

MIN_OF_PLAIN = 0.33
"""A noted copy is to take three times the time of a plain one at most, as its plan says."""
Prepare = Callable[[], object]
"""Makes the target what it is before the copy."""


def measure_rollback(stage: Stage, report: Report) -> None:
    _beside(stage, report, "PostgreSQL", stage.task, _postgres(stage))
    with mystage.served(stage) as my:

        def my_task(**job: Any) -> Task:
            return my.task(mystage.HERE, mystage.THERE, **job)

        _beside(stage, report, "MariaDB", my_task, _mysql(my))
    with mongodb.served(stage) as mongo:
        _beside(stage, report, "MongoDB", mongo.task, _mongo(mongo))


def _beside(
    stage: Stage,
    report: Report,
    system: str,
    task: Callable[..., Task],
    targets: Sequence[tuple[str, Prepare]],
) -> None:
    """Copies with and without notes, in turns."""

    def copied(prepare: Prepare, rollback: bool) -> Callable[[], Sample]:
        def act() -> Sample:
            prepare()
            ours = task(check="none", rollback=rollback)
            ours.step("plan")
            sample, counts = ours.step("copy")
            if counts["rows_written"] != stage.rows:
                raise FailedError(f"{counts['rows_written']} rows were written")
            return sample

        return act

    entries, pairs = list[measure.Entry](), list[tuple[str, Contest, Contest]]()
    for what, prepare in targets:
        plain, noted = (
            Contest(f"{system}, {what}, {how}", stage.rows) for how in ("plain", "noted")
        )
        entries += [(plain, copied(prepare, False)), (noted, copied(prepare, True))]
        pairs.append((what, plain, noted))
    measure.alternate(stage.rounds, entries)
    for what, plain, noted in pairs:
        report.runs("rollback", plain, noted)
        told = f"{system} to {system}, {what}, rollback: true"
        report.rates("rollback", told, noted, plain, MIN_OF_PLAIN)


def _postgres(stage: Stage) -> list[tuple[str, Prepare]]:
    def empty() -> None:
        # With the notes of the run before.
        stage.execute(TARGET, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        stage.execute(TARGET, tables.create())
        stage.settle()

    def others() -> None:
        empty()
        stage.execute(TARGET, tables.fill(stage.rows))
        stage.execute(TARGET, f"UPDATE {TABLE} SET code = -1")
        stage.settle()

    return _targets(empty, others)


def _mysql(place: MyStage) -> list[tuple[str, Prepare]]:
    def empty() -> None:
        place.run(f"DROP DATABASE {mystage.THERE}", f"CREATE DATABASE {mystage.THERE}")
        place.emptied(mystage.THERE)

    def others() -> None:
        empty()
        there = f"{mystage.THERE}.{TABLE}"
        place.run(f"INSERT INTO {there} SELECT * FROM {mystage.HERE}.{TABLE}")
        place.run(f"UPDATE {there} SET code = -1")

    return _targets(empty, others)


def _mongo(place: MongoStage) -> list[tuple[str, Prepare]]:
    def empty() -> None:
        place.client.drop_database(mongodb.THERE)

    def others() -> None:
        empty()
        there = {"db": mongodb.THERE, "coll": TABLE}
        changed: list[dict[str, Any]] = [{"$set": {"price": -1}}, {"$out": there}]
        list(place.client[mongodb.HERE][TABLE].aggregate(changed))

    return _targets(empty, others)


def _targets(empty: Prepare, others: Prepare) -> list[tuple[str, Prepare]]:
    return [("into an empty target", empty), ("over other values", others)]
