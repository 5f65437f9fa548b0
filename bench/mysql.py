"""The legs of MySQL, on MariaDB: to itself, to and from PostgreSQL, into files, check and purge."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from bench import measure
from bench.measure import Contest, PeerError, Sample
from bench.mysql_files import measure_files
from bench.mysql_proofs import measure_checks, measure_purges
from bench.mystage import HERE, THERE, MyStage, found, served
from bench.report import Report
from bench.stage import SOURCE, TARGET, Stage
from bench.tables import TABLE
from bench.tables import create as create_postgres

MIN_OF_FILES = 1.25
MIN_OF_DUMP = 1.9
MIN_OF_CSV = 0.95
MIN_OF_PGLOADER = 4.5
GENERIC_ROWS = 20_000


def measure_mysql(stage: Stage, report: Report) -> None:
    with served(stage) as place:
        _within(place, report)
        _across(place, report)
        measure_files(place, report)
        measure_checks(place, report)
        measure_purges(place, report)


def _within(place: MyStage, report: Report) -> None:
    rows, few = place.stage.rows, min(GENERIC_ROWS, place.stage.rows)
    one, two = Contest("copy", rows), Contest("copy, 2 workers", rows)
    sampled = Contest("copy, digest of 10 %", rows)
    files = Contest("SELECT INTO OUTFILE, then LOAD DATA", rows)
    dump = Contest("mysqldump | mysql", rows)
    mydumper = Contest("mydumper, then myloader, 2 threads", rows)
    generic = Contest(f"GenericTransfer, {few:,} rows", few)

    def into_empty(act: Callable[[], Sample], rows: int = rows) -> Callable[[], Sample]:
        def acted() -> Sample:
            place.emptied(THERE)
            sample = act()
            place.require_rows(THERE, rows)
            return sample

        return acted

    measure.alternate(
        place.stage.rounds,
        [
            (files, into_empty(lambda: _files(place))),
            (one, into_empty(lambda: place.copied(HERE, THERE, check="none")[0])),
            (dump, into_empty(lambda: _dump(place))),
            (two, into_empty(lambda: place.copied(HERE, THERE, check="none", workers=2)[0])),
            (mydumper, into_empty(lambda: _mydumper(place))),
            (
                sampled,
                into_empty(lambda: place.copied(HERE, THERE, check={"percent": 10})[0]),
            ),
            (generic, into_empty(lambda: _generic(place, few), few)),
        ],
    )
    report.runs("mysql", one, two, sampled, files, dump, mydumper, generic)
    what = "MariaDB to MariaDB, 1 worker"
    report.rates("mysql", what, one, files, MIN_OF_FILES)
    report.rates("mysql", what, one, dump, MIN_OF_DUMP)
    report.rates("mysql", what, one, mydumper)
    report.rates("mysql", what, one, generic)
    report.rates("mysql", "MariaDB to MariaDB, 2 workers", two, files)
    report.rates("mysql", f"{what}, digest of 10 % of the batches", sampled, files)


def _files(place: MyStage) -> Sample:
    """By a file that the server writes and reads: no client takes part."""
    file = place.server.folder / "bench.tsv"
    file.unlink(missing_ok=True)
    out = place.sql(f"SELECT * INTO OUTFILE '{file}' FROM {HERE}.{TABLE}")
    load = place.sql(f"LOAD DATA INFILE '{file}' INTO TABLE {THERE}.{TABLE}")
    sample = one_after_the_other(place.stage.run_programs(out), place.stage.run_programs(load))
    file.unlink()
    return sample


def one_after_the_other(first: Sample, second: Sample) -> Sample:
    """What two samples took together."""
    server = (first.server or 0) + (second.server or 0)
    return Sample(first.seconds + second.seconds, first.cpu + second.cpu, server=server)


def _dump(place: MyStage) -> Sample:
    dump = place.client("mariadb-dump", "--no-create-info", "--single-transaction", HERE, TABLE)
    return place.stage.run_programs(dump, place.client("mariadb", THERE))


def _mydumper(place: MyStage) -> Sample:
    folder = place.stage.folder / "mydumper"
    shutil.rmtree(folder, ignore_errors=True)
    dump = place.client("mydumper", "-B", HERE, "-T", TABLE, "-o", str(folder), "-t", "2")
    load = place.client("myloader", "-B", THERE, "-d", str(folder), "-o", "-t", "2")
    return one_after_the_other(place.peer(dump), place.peer(load))


def _generic(place: MyStage, rows: int) -> Sample:
    arguments = {
        "sql": f"SELECT * FROM {TABLE} WHERE id <= {rows}",
        "destination_table": TABLE,
        "source_conn_id": HERE,
        "destination_conn_id": THERE,
    }
    try:
        sample, _ = place.stage.run_step({"step": "generic", "arguments": arguments})
    except measure.FailedError as error:
        raise PeerError(f"GenericTransfer: {str(error)[-300:]}") from error
    return sample


def _across(place: MyStage, report: Report) -> None:
    stage, rows = place.stage, place.stage.rows
    there, back = Contest("PostgreSQL to MariaDB", rows), Contest("MariaDB to PostgreSQL", rows)
    csv = Contest("psql COPY CSV | LOAD DATA", rows)
    loader = Contest("pgloader", rows)

    def to_mysql() -> Sample:
        place.emptied(THERE)
        stage.settle()
        sample, _ = place.copied(SOURCE, THERE, check="none")
        place.require_rows(THERE, rows)
        return sample

    def by_csv() -> Sample:
        place.emptied(THERE)
        stage.settle()
        sample = stage.run_programs(
            stage.psql(SOURCE, "--command", f"COPY ({POSTGRES_AS_CSV}) TO STDOUT {CSV}"),
            place.sql(LOAD.format(table=f"{THERE}.{TABLE}")),
        )
        place.require_rows(THERE, rows)
        return sample

    def to_postgres() -> Sample:
        stage.execute(TARGET, f"DROP TABLE IF EXISTS {TABLE}")
        stage.settle()
        sample, _ = place.copied(HERE, TARGET, check="none")
        stage.require_rows(TARGET, TABLE, rows)
        return sample

    measure.alternate(
        stage.rounds,
        [
            (there, to_mysql),
            (csv, by_csv),
            (back, to_postgres),
            (loader, lambda: _pgloader(place)),
        ],
    )
    stage.execute(TARGET, create_postgres())
    report.runs("mysql", there, csv, back, loader)
    report.rates("mysql", "PostgreSQL to MariaDB, 1 worker", there, csv, MIN_OF_CSV)
    report.rates("mysql", "MariaDB to PostgreSQL, 1 worker", back, loader, MIN_OF_PGLOADER)


POSTGRES_AS_CSV = (
    "SELECT id, quantity, code, price, rate, score, name, note, active::int, born, made, "
    f"seen AT TIME ZONE 'UTC', token, attributes, encode(raw, 'hex') FROM {TABLE}"
)
CSV = "(FORMAT csv, NULL '\\N', ESCAPE '\\', FORCE_QUOTE *)"
LOAD = (
    "SET time_zone = '+00:00'; LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE {table} "
    "CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' ENCLOSED BY '\"' (id, quantity, code, price, "
    "rate, score, name, note, active, born, made, seen, token, attributes, @raw) "
    "SET raw = UNHEX(@raw)"
)


def _pgloader(place: MyStage) -> Sample:
    """All tables of the schema, which it creates: there is one."""
    stage = place.stage
    stage.execute(TARGET, f"DROP SCHEMA IF EXISTS {HERE} CASCADE")
    stage.settle()
    # By default it reads so far ahead that its heap of 1 GB is exhausted.
    few = ("--with", "prefetch rows = 10000")
    command = [found("pgloader"), *few, place.url(HERE), stage.server.uri(TARGET)]
    sample = place.peer(command)
    if stage.value(TARGET, f"SELECT to_regclass('{HERE}.{TABLE}') IS NULL"):
        raise PeerError("pgloader created no table")
    arrived = stage.value(TARGET, f"SELECT count(*) FROM {HERE}.{TABLE}")
    stage.execute(TARGET, f"DROP SCHEMA IF EXISTS {HERE} CASCADE")
    if arrived != stage.rows:
        raise PeerError(f"pgloader: {arrived} of {stage.rows} rows arrived")
    return sample
