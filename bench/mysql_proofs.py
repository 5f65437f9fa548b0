"""Check and purge of MariaDB."""

from __future__ import annotations

import math
from collections.abc import Callable

from bench import measure, peers
from bench.measure import Contest, FailedError, Sample
from bench.mystage import HERE, THERE, MyStage, found
from bench.report import Report
from bench.stage import TARGET, Task
from bench.tables import EATEN, TABLE

MIN_OF_RELADIFF = 5
MIN_OF_ARCHIVER = 1.6
BATCH = 100_000
COMPARED = (
    *("quantity", "code", "price", "rate", "score", "name", "note", "active", "born", "made"),
    *("seen", "token"),
)
"""Columns whose types reladiff compares between the two systems."""


def measure_checks(place: MyStage, report: Report) -> None:
    stage, rows = place.stage, place.stage.rows
    place.emptied(THERE)
    _, within = place.copied(HERE, THERE, check="none")
    stage.execute(TARGET, f"DROP TABLE IF EXISTS {TABLE}")
    _, across = place.copied(HERE, TARGET, check="none")
    one = Contest("check by hand, MariaDB and MariaDB", rows)
    other = Contest("check by hand, MariaDB and PostgreSQL", rows)
    checksum = Contest("pt-table-checksum, one side, CRC32", rows)
    diff = Contest("reladiff, without bytes and JSON", rows)
    false: list[int] = []

    def compared() -> Sample:
        sample, different = peers.differences(stage, place.url(HERE), COMPARED)
        false.append(different)
        return sample

    measure.alternate(
        stage.rounds,
        [
            (checksum, lambda: _checksum(place)),
            (one, lambda: _checked(place, within)),
            (other, lambda: _checked(place, across)),
            (diff, compared),
        ],
    )
    report.runs("mysql", one, other, checksum, diff)
    report.times("mysql", "check of 100 %, MariaDB and MariaDB, both sides", one, checksum)
    what = "check of 100 %, MariaDB and PostgreSQL, both sides"
    report.times("mysql", what, other, diff, MIN_OF_RELADIFF)
    told = f"{max(false):,}" if false else "not measured"
    report.note("mysql", "differences found where there are none", "0", diff.name, told)


def _checked(place: MyStage, task: Task) -> Sample:
    place.stage.settle()
    sample, counts = task.step("check_again")
    if counts["rows_checked"] != place.stage.rows:
        raise FailedError(f"{counts['rows_checked']} rows were checked")
    return sample


def _checksum(place: MyStage) -> Sample:
    """Of the source alone: it compares replicas, which compute the same by themselves."""
    return place.peer(
        [
            found("pt-table-checksum"),
            *("--databases", HERE, "--tables", TABLE, "--recursion-method", "none"),
            *("--no-check-binlog-format", "--no-check-replication-filters", "--no-check-plan"),
            *("--no-version-check", "--max-load", "", place.dsn()),
        ]
    )


def measure_purges(place: MyStage, report: Report) -> None:
    rows = place.stage.rows
    ours, unsafe = Contest("purge", rows), Contest("DELETE by key range, unproved", rows)
    archiver = Contest("pt-archiver --bulk-delete, unproved", rows)

    def filled(act: Callable[[], Sample]) -> Callable[[], Sample]:
        def acted() -> Sample:
            for schema in (HERE, THERE):
                place.emptied(schema, EATEN)
            place.run(f"INSERT INTO {HERE}.{EATEN} SELECT * FROM {HERE}.{TABLE}")
            return act()

        return acted

    measure.alternate(
        place.stage.rounds,
        [
            (unsafe, filled(lambda: _unproved(place))),
            (ours, filled(lambda: _proved(place))),
            (archiver, filled(lambda: _archiver(place))),
        ],
    )
    report.runs("mysql", unsafe, ours, archiver)
    report.rates("mysql", "purge, every row proved", ours, unsafe)
    report.rates("mysql", "purge, every row proved", ours, archiver, MIN_OF_ARCHIVER)


def _proved(place: MyStage) -> Sample:
    task = place.task(HERE, THERE, EATEN, purge="system", check={"percent": 10})
    for name in ("plan", "copy", "check"):
        task.step(name)
    sample, counts = task.step("purge")
    if counts["rows_purged"] != place.stage.rows:
        raise FailedError(f"{counts['rows_purged']} rows were purged")
    return sample


def _unproved(place: MyStage) -> Sample:
    rows = place.stage.rows
    size = math.ceil(rows / max(1, rows // BATCH))
    script = place.stage.folder / "purge.sql"
    ranges = range(0, rows, size)
    lines = [f"DELETE FROM {EATEN} WHERE id > {n} AND id <= {n + size};" for n in ranges]
    script.write_text("\n".join(lines))
    sample = place.stage.run_programs(place.client("mariadb", HERE, "-e", f"source {script}"))
    place.require_rows(HERE, 0, EATEN)
    return sample


def _archiver(place: MyStage) -> Sample:
    sample = place.peer(
        [
            *(found("pt-archiver"), "--source", place.dsn(D=HERE, t=EATEN), "--purge"),
            *("--where", "1=1", "--bulk-delete", "--limit", "10000", "--commit-each"),
            *("--no-check-charset", "--no-version-check"),
        ]
    )
    # It leaves the row of the highest AUTO_INCREMENT alone; here there is none.
    place.require_rows(HERE, 0, EATEN)
    return sample
