"""The parts of the demonstration that need no Airflow: its data, and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.approval.matching import Ask
from dsp_airflow.approval.processes import process_of_files
from dsp_airflow.approval.subject import connections_of, task_type_of, touched
from dsp_airflow.config import load_task
from dsp_airflow.config.process_loading import load_processes
from dsp_airflow.demo import approvals, documents, flights, stage, summary
from dsp_airflow.demo.flights import Content
from dsp_airflow.demo.stage import Tables
from dsp_airflow.engine.ports import Store
from dsp_airflow.state.records import JobSummary, RunSummary
from tests.engine.harness import Bench
from tests.servers import Database, MongoServer, PostgresServer, fresh_database


@pytest.fixture(scope="module")
def shop(pg18: PostgresServer) -> Iterator[Database]:
    """All flights, as loaded."""
    with fresh_database(pg18) as database, database.connect() as connection:
        assert flights.load_flights(connection) == 336_776
        yield database


def test_all_flights_are_loaded_with_their_nulls_and_types(shop: Database) -> None:
    with shop.connect() as connection:
        content = flights.content(connection, flights.SOURCE_TABLE)
        # One moved row leaves the sum over both tables as it is, one changed value does not.
        connection.execute("CREATE TABLE flights_archive AS SELECT * FROM flights WHERE id = 7")
        connection.execute("DELETE FROM flights WHERE id = 7")
        moved = [flights.content(connection, t) for t in ("flights", "flights_archive")]
        connection.execute("UPDATE flights_archive SET arr_delay = arr_delay + 1")
        changed = flights.content(connection, "flights_archive")
        absent = flights.content(connection, "nowhere")

    assert content.rows == 336_776
    assert moved[0] + moved[1] == content
    assert moved[0] + changed != content
    assert absent == Content(0, Decimal(0))
    assert shop.value("SELECT count(*) FROM flights WHERE dep_time IS NULL") == 8255
    assert shop.value("SELECT count(*) FROM flights WHERE tailnum IS NULL") == 2512
    assert shop.rows("SELECT id, air_time, time_hour FROM flights ORDER BY id LIMIT 1") == [
        (1, 227, datetime(2013, 1, 1, 10, tzinfo=UTC))
    ]


def _outcome(**job: Any) -> summary.Outcome:
    """Ten rows, of which four have moved."""
    counts = {
        "rows_total": 4,
        "rows_read": 4,
        "rows_written": 4,
        "rows_failed": 0,
        "rows_checked": 2,
        "rows_different": 0,
        "rows_purged": 4,
        "rows_kept": 0,
        "bytes": 100,
        "batches": 2,
        "batches_copied": 2,
        "batches_checked": 2,
        "batches_purged": 2,
        **job,
    }
    now = datetime.now(UTC)
    return summary.Outcome(
        before=_tables(10, 0),
        after=_tables(6, 4),
        run=RunSummary(
            run="20261121T000000-abcdef",
            task="flights_archive",
            attempt=1,
            state="succeeded",
            error=None,
            created_at=now,
            started_at=now,
            ended_at=now,
            jobs=(JobSummary(name="flights_warm", state="succeeded", error=None, **counts),),
        ),
        mails=[EmailMessage(), EmailMessage()],
        run_seconds=1,
    )


def _tables(source: int, target: int) -> Tables:
    return Tables(Content(source, Decimal(source * 100)), Content(target, Decimal(target * 100)))


def test_numbers_that_add_up_are_no_problem() -> None:
    assert summary.problems(_outcome()) == []


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (replace(_outcome(), after=_tables(5, 4)), "5 in the source and 4 in the target make 9"),
        (replace(_outcome(), after=_tables(6, 5)), "make 11"),
        (
            replace(_outcome(), after=Tables(_tables(6, 0).source, Content(4, Decimal(401)))),
            "some row is not the same",
        ),
        (replace(_outcome(), after=_tables(10, 0)), "nothing was moved"),
        (_outcome(rows_written=5), "5 rows written, the target got 4"),
        (_outcome(rows_purged=3), "3 rows purged, the source lost 4"),
        (_outcome(rows_kept=1), "not the 4 of the job"),
        (_outcome(rows_different=1), "1 rows that differ"),
        (_outcome(rows_checked=0), "compared no row"),
        (replace(_outcome(), run=replace(_outcome().run, state="failed")), "is failed"),
        (replace(_outcome(), mails=[EmailMessage()]), "1 mails"),
    ],
)
def test_what_does_not_add_up_is_named(outcome: summary.Outcome, problem: str) -> None:
    assert problem in "\n".join(summary.problems(outcome))


def _archive(**changed: Any) -> summary.Archive:
    """Of six rows three were archived, and one of these restored."""
    job = _outcome().job
    return replace(
        summary.Archive(
            before=6,
            left=3,
            stored=3,
            again=4,
            stored_still=3,
            altered=0,
            archived=replace(job, rows_written=3, rows_purged=3),
            restored=replace(job, rows_written=1, rows_checked=1),
        ),
        **changed,
    )


def _elsewhere(rows: int = 3, there: int = 3, **job: Any) -> summary.Elsewhere:
    counts: dict[str, Any] = {"rows_written": 3, "rows_checked": 3, **job}
    return summary.Elsewhere(
        Content(rows, Decimal(7)), Content(there, Decimal(7)), replace(_outcome().job, **counts)
    )


def test_what_does_not_add_up_in_mariadb() -> None:
    assert summary.mariadb_problems(_elsewhere()) == []
    other = replace(_elsewhere(), there=Content(3, Decimal(8)))
    assert "not the same" in summary.mariadb_problems(other)[0]
    for wrong in (_elsewhere(there=2), _elsewhere(rows_checked=2), _elsewhere(rows_written=4)):
        assert "the run reports" in summary.mariadb_problems(wrong)[0]
    assert "nothing was to be copied" in summary.mariadb_problems(_elsewhere(rows=0))[0]


def test_flights_and_files_in_mongodb(shop: Database, mongo: MongoServer, tmp_path: Path) -> None:
    """The jobs of the example task, on the data of the demonstration, without Airflow."""
    uri = documents.create_user(mongo)
    try:
        with shop.connect() as connection:
            documents.load(mongo, connection)
            before = documents.buckets(mongo)
            bench = Example(tmp_path, There(shop.uri), There(uri))
            run = bench.run()
            found = summary.Documents(
                documents.christmas(connection),
                documents.content(mongo),
                before,
                documents.buckets(mongo),
                *run.jobs,
            )
        assert len(before.shop) == 12
        assert summary.mongo_problems(found) == []
        for changed, told in (
            ({"there": Content(1, found.source.hashes)}, "MongoDB holds 1 documents"),
            ({"there": replace(found.source, hashes=Decimal(1))}, "some document is not"),
            ({"after": before}, "12 are left"),
            ({"files": replace(found.files, rows_purged=11)}, "11 purged"),
        ):
            assert told in "\n".join(summary.mongo_problems(replace(found, **changed)))
    finally:
        with mongo.connect() as client:
            for name in (documents.SHOP, documents.ARCHIVE):
                client.drop_database(name)


@dataclass
class There:
    """A database by its address."""

    uri: str


class Example(Bench[There]):
    """The example task with its own file."""

    @property
    def file(self) -> Path:
        return stage.CHECKOUT / "dags" / "tasks" / "flights_to_mongo.yaml"

    def store(self, conn_id: str) -> Store:
        return super().store("target" if conn_id == documents.CONNECTION else "source")


def test_an_archive_that_adds_up_is_no_problem() -> None:
    assert summary.archive_problems(_archive()) == []


@pytest.mark.parametrize(
    ("archive", "problem"),
    [
        (_archive(left=6), "nothing was archived"),
        (_archive(left=2), "the source lost 4 rows, the files hold 3"),
        (_archive(stored=2), "the files hold 2"),
        (_archive(again=3), "nothing was restored"),
        (_archive(again=5), "got 2 rows back, the run reports 1 restored"),
        (_archive(stored_still=2), "the files hold 2 rows after the restore"),
        (_archive(altered=1), "1 rows of the source are not as they were loaded"),
    ],
)
def test_what_does_not_add_up_in_an_archive(archive: summary.Archive, problem: str) -> None:
    assert problem in "\n".join(summary.archive_problems(archive))


def test_a_person_decides_on_the_warehouse_and_all_else_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in approvals.settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / approvals.FOLDER
    assert load_processes(folder)[1] == []
    deciders = {}
    for file in (stage.CHECKOUT / "dags" / "tasks").glob("*.yaml"):
        task = load_task(file)
        names = [name for job in task.jobs for name in connections_of(job)]
        ask = Ask(task_type_of(task), frozenset({"delete"}), touched(names), rows=10**9)
        level = process_of_files(ask, task.approval).levels[-1]
        deciders[task.name] = [node.label for node in level.nodes]
    assert deciders.pop("flights_archive") == ["role owners"]
    assert set(map(tuple, deciders.values())) == {("automatic",)}
