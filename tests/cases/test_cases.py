"""Every folder here, on each of its ways: copied, checked, purged, and put back from S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.engine.errors import DspError, Mismatch
from dsp_airflow.steps import TaskRun
from tests.cases.case import Case, Way, cases, refuse_unknown
from tests.mysql.pairs import Pair
from tests.s3.harness import Archives
from tests.servers import (
    Database,
    MySQLDatabase,
    PostgresServer,
    fresh_database,
    fresh_mysql_database,
)
from tests.servers.s3 import fresh_bucket

Any_Database = Database | MySQLDatabase
ALL = [
    pytest.param(
        case,
        way,
        id=f"{case.name}-{way.source}-{way.target}",
        marks=[pytest.mark.soak] if way in case.soak else [],
    )
    for case in cases()
    for way in case.ways
]
BYTES = ("binary", "varbinary", "blob", "tinyblob", "mediumblob", "longblob", "bit", "geometry")


@contextmanager
def fresh(request: pytest.FixtureRequest, name: str) -> Iterator[Any_Database]:
    server = request.getfixturevalue(name)
    made: Any = fresh_database if isinstance(server, PostgresServer) else fresh_mysql_database
    with made(server) as database:
        yield database


def prepare(database: Any_Database, statements: list[str]) -> None:
    if statements:
        database.execute(*statements)


@pytest.mark.parametrize(("case", "way"), ALL)
def test_case(case: Case, way: Way, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with ExitStack() as stack:
        source = stack.enter_context(fresh(request, way.source))
        prepare(source, case.statements("before.sql", way.source))
        before = {table: shown(source, table) for table in case.tables}
        if way.target == "s3":
            place = fresh_bucket(request.getfixturevalue("moto"))
            jobs: Pair | Archives = Archives(tmp_path, source, source, place=place)
        else:
            target = stack.enter_context(fresh(request, way.target))
            prepare(target, case.statements("target.sql", way.target))
            jobs = Pair(tmp_path, source, target)
        through(jobs, case, way)
        if isinstance(jobs, Archives):
            back(jobs, case, way)
        for table in case.tables:
            if way.alike and arrives(case, table, way):
                assert shown(jobs.target, table) == before[table], table
        for query, rows in case.seen(way).items():
            assert printed(jobs.target, query) == rows, query


def arrives(case: Case, table: str, way: Way) -> bool:
    """Whether all rows of it do, as they are."""
    wanted = case.expected(table, way)
    plain = not {"where", "columns"} & set(case.job(table, way))
    return plain and not {"refused", "stopped", "differs", "changes"} & set(wanted)


def through(jobs: Pair | Archives, case: Case, way: Way) -> None:
    """Every step of every table, in the order that references between them ask for."""
    jobs.write(*(job_of(jobs, case, table, way) for table in case.tables))
    run = jobs.open()
    copied = [table for table in case.tables if copy(run, case, table, way)]
    for table in reversed(copied):
        wanted = case.expected(table, way)
        if case.job(table, way).get("purge") == "none":
            continue
        found = run.purge(table)
        purged = wanted.get("purged", wanted["rows"])
        assert (found.rows_purged, found.rows_kept) == (purged, wanted["rows"] - purged), table
    run.finish()


def job_of(jobs: Pair | Archives, case: Case, table: str, way: Way) -> dict[str, Any]:
    said = {"check": {"percent": 100}, "purge": "manual", **case.job(table, way)}
    if isinstance(jobs, Archives):
        schema = "public" if isinstance(jobs.source, Database) else jobs.source.name
        folder = {"prefix": f"archive/{table}", **said.pop("target", {})}
        return jobs.job(table, f"{schema}.{table}", target=folder, **said)
    return jobs.job(table, table, **said)


def copy(run: TaskRun, case: Case, table: str, way: Way) -> bool:
    """Whether it came to a copy; what expect.yaml says of that is so."""
    wanted = case.expected(table, way)
    if "refused" in wanted:
        with pytest.raises(DspError, match=wanted["refused"]):
            run.plan(table)
        return False
    plan = run.plan(table)
    told = "\n".join([*plan.warnings, *plan.purge_refusals])
    for words in wanted.get("warnings", []):
        assert words in told, table
    if "stopped" in wanted:
        with pytest.raises(DspError, match=wanted["stopped"]):
            run.copy(table)
        return False
    run.copy(table)
    if "differs" in wanted:
        with pytest.raises(Mismatch, match=wanted["differs"]):
            run.check(table)
        return False
    found = run.check(table)
    assert found.rows_checked == found.rows_written == wanted["rows"], table
    return True


def back(jobs: Archives, case: Case, way: Way) -> None:
    """What lies in the archive, into the tables that it is from."""
    for table in case.tables:
        if not arrives(case, table, way):
            continue
        if case.job(table, way).get("purge") == "none":
            continue
        done = jobs.restore(job=table)
        assert done.rows_checked == done.rows_written == case.expected(table, way)["rows"], table


def shown(database: Any_Database, table: str) -> list[Any]:
    """Every row of every column, invisible ones too, as the server prints it."""
    if isinstance(database, Database):
        return database.rows(f"SELECT t::text FROM {table} AS t ORDER BY 1")
    columns = database.run(
        "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = "
        f"DATABASE() AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION"
    )
    texts = [f"HEX(`{n}`)" if kind in (*BYTES, "vector") else f"`{n}`" for n, kind in columns]
    return sorted(map(str, database.run(f"SELECT {', '.join(texts)} FROM `{table}`")))


def printed(database: Any_Database, query: str) -> list[list[str | None]]:
    """A query's rows as texts."""
    found = database.rows(query) if isinstance(database, Database) else database.run(query)
    return [[None if value is None else str(value) for value in row] for row in found]


def test_a_word_that_nobody_knows_is_no_expectation() -> None:
    jobs = {"about": "x", "ways": ["mysql to s3"], "tables": {"t": {}}}
    refuse_unknown(Path("x"), jobs, {"tables": {"t": {"rows": 1}}, "seen in s3": {}})
    for wrong in (
        {"tables": {"t": {"row": 1}}},
        {"tables": {"t": {"rows": 1}}, "to mysql": {}},
        {"tables": {"t": {"rows": 1}}, "to s3": {"u": {}}},
    ):
        with pytest.raises(ValueError, match="unknown"):
            refuse_unknown(Path("x"), jobs, wrong)
