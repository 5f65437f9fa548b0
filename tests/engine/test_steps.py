"""Jobs that go by steps, on every system and into S3: one step a run, none twice, none left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest

from dsp_airflow.engine.errors import ConfigError, Mismatch, Refused
from dsp_airflow.engine.events import Noted
from dsp_airflow.engine.model import Plan
from dsp_airflow.state.bounds import Bounds
from dsp_airflow.state.records import JobSummary
from dsp_airflow.steps import TaskRun
from tests.engine.anywhere import databases
from tests.engine.scenes import forget_shapes
from tests.mongo.cross import Cross
from tests.servers import Database, MongoDatabase, MySQLDatabase
from tests.servers.s3 import S3Server, fresh_bucket

START = datetime(2026, 3, 27, 23, tzinfo=UTC)
"""Midnight in Vienna; a day later the clocks go forward."""
STEP = {"column": "at", "start": "2026-03-28", "size": "1d", "zone": "Europe/Vienna"}


class Heard:
    """An onlooker that remembers."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def on(self, event: object) -> None:
        if isinstance(event, Noted):
            self.texts.append(event.text)


@dataclass
class World:
    """A source with a row an hour, and a job that goes by days."""

    bench: Cross
    kind: str

    def fill(self, rows: int, column: str = "at") -> None:
        source = self.bench.source
        if isinstance(source, MongoDatabase):
            source["t"].create_index([(column, 1)])
        else:
            moment = "timestamp(6)" if isinstance(source, MySQLDatabase) else "timestamptz"
            source.execute(
                f"CREATE TABLE t (id int PRIMARY KEY, at {moment} NULL, v varchar(20))",
                "CREATE INDEX at_of_t ON t (at)",
            )
        self.put({n: START + n * timedelta(hours=1) for n in range(rows)})

    def put(self, given: dict[int, datetime | None]) -> None:
        source = self.bench.source
        if isinstance(source, MongoDatabase):
            documents = [{"_id": own, "at": at, "v": "v"} for own, at in given.items()]
            source.insert_raw("t", [bson.encode(one) for one in documents])
            return
        zone = "+00" if isinstance(source, Database) else ""
        rows = ", ".join(
            f"({own}, {'NULL' if at is None else repr(f'{at:%Y-%m-%d %H:%M:%S}{zone}')}, 'v')"
            for own, at in given.items()
        )
        first = ["SET time_zone = '+00:00'"] if isinstance(source, MySQLDatabase) else []
        source.execute(*first, f"INSERT INTO t VALUES {rows}")

    def change(self, own: int, v: str) -> None:
        source = self.bench.source
        if isinstance(source, MongoDatabase):
            source["t"].update_one({"_id": own}, {"$set": {"v": v}})
        else:
            source.execute(f"UPDATE t SET v = '{v}' WHERE id = {own}")

    def ids(self, database: Any = None) -> list[int]:
        place = self.bench.source if database is None else database
        if isinstance(place, MongoDatabase):
            return sorted(found["_id"] for found in place["t"].find({}, {"_id": 1}))
        return [n for (n,) in place.rows("SELECT id FROM t ORDER BY id")]

    def configure(self, **job: Any) -> None:
        step = job.pop("whole", {**STEP, **job.pop("step", {})})
        made = self.bench.s3 if self.kind == "s3" else self.bench.warm
        settings = {"mode": "step", "step": step, "batch_size": 10, **job}
        if self.kind == "s3":
            # A folder is one job's.
            settings["target"] = {"prefix": "steps"}
        self.bench.write(made(**settings))

    def run(self) -> JobSummary:
        (job,) = self.bench.run(new=True).jobs
        return job

    def begun(self) -> TaskRun:
        return self.bench.open(new=True)

    def bound(self) -> str | None:
        states = Bounds(self.bench.state).of_task("task")
        return states[0].value if states else None

    def plan(self) -> Plan:
        return self.begun().plan("copy")


@pytest.fixture(
    params=["pg18-warm", "pg18-s3", "mariadb-warm", "mysql-s3", "mongo-warm", "mongo-s3"]
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A source of each system, into one of its kind or into S3."""
    system, _, kind = request.param.partition("-")
    moto: S3Server = request.getfixturevalue("moto")
    with ExitStack() as stack:
        source, target = databases(request, stack, system, system)
        yield World(Cross(tmp_path, source, target, place=fresh_bucket(moto)), kind)


def test_a_step_a_run(world: World) -> None:
    """The first has 24 rows, that of the change of clocks 23; the one that is not over waits."""
    world.fill(24 + 23 + 5)
    world.configure(step={"end": "2026-03-30T12:00:00+02:00"}, purge="system")
    heard = Heard()
    first = world.begun()
    first.watch = heard
    plan = first.plan("copy")
    assert plan.step is not None
    assert str(plan.step) == (
        "at >= 2026-03-28 00:00:00 Europe/Vienna and < 2026-03-29 00:00:00 Europe/Vienna"
    )
    assert heard.texts == [f"Job copy: this step: {plan.step}"]
    # A run that did not end leaves the step to the next one.
    assert (world.run().rows_purged, world.bound()) == (24, "2026-03-29 00:00:00 Europe/Vienna")
    assert world.ids() == list(range(24, 52))
    # Even if it goes on then, it does not go beyond.
    first.copy("copy")
    first.check("copy")
    assert first.purge("copy").rows_kept == 0
    assert world.bound() == "2026-03-29 00:00:00 Europe/Vienna"
    assert "stands elsewhere by now" in heard.texts[-1]
    assert (world.run().rows_purged, world.bound()) == (23, "2026-03-30 00:00:00 Europe/Vienna")
    # The third step is not over: nothing is done, and that is no failure.
    objects = world.bench.objects()
    waiting = world.begun()
    waiting.watch = heard
    found = waiting.plan("copy").step
    assert found is not None
    assert "it would go beyond its end" in found.waits
    waiting.copy("copy")
    waiting.check("copy")
    waiting.purge("copy")
    assert waiting.finish().state == "succeeded"
    assert "nothing to do" in " ".join(heard.texts)
    assert (world.bound(), world.bench.objects()) == ("2026-03-30 00:00:00 Europe/Vienna", objects)
    assert world.ids() == list(range(47, 52))
    if world.kind == "warm":
        assert world.ids(world.bench.target) == list(range(47))


@pytest.mark.parametrize("world", ["pg18-s3", "mariadb-warm", "mongo-warm"], indirect=True)
def test_a_step_that_fails_or_leaves_rows_is_repeated(world: World) -> None:
    world.fill(30)
    world.configure(purge="system", step={"size": "5h"})
    run = world.begun()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    assert world.bound() is None
    world.change(3, "changed")
    heard = Heard()
    run.watch = heard
    assert run.purge("copy").rows_kept == 1
    assert "the next run repeats this step" in heard.texts[-1]
    assert (world.bound(), world.ids()[0]) == (None, 3)
    again = world.run()
    assert (again.rows_total, again.rows_purged) == (1, 1)
    assert world.bound() == "2026-03-28 04:00:00+00:00"
    # Rows that came behind it, and those that have no time at all, are told.
    world.put({100: START + timedelta(minutes=5), 101: None})
    run = world.begun()
    plan = run.plan("copy")
    told = " ".join(plan.warnings)
    assert "1 rows stand behind the steps" in told
    assert "1 rows are in no step" in told
    run.copy("copy")
    run.check("copy")
    run.purge("copy")
    assert world.bound() == "2026-03-28 09:00:00+00:00"
    assert world.ids()[-2:] == [100, 101]
    # Another start counts for a first step only, and is told; another size from here on.
    world.configure(purge="system", step={"size": "2h", "start": "2020-01-01"})
    plan = world.plan()
    assert "step.start was 2026-03-28 and is 2020-01-01" in " ".join(plan.warnings)
    assert plan.step is not None
    assert (plan.step.below, plan.rows) == ("2026-03-28 11:00:00+00:00", 2)


@pytest.mark.parametrize("world", ["pg18-warm", "mysql-s3", "mongo-s3"], indirect=True)
def test_rows_before_the_start_and_numbers(world: World) -> None:
    world.fill(25)
    column = "_id" if isinstance(world.bench.source, MongoDatabase) else "id"
    world.configure(whole={"column": column, "start": 5, "size": 10})
    plan = world.plan()
    assert f"there are rows whose {column} is before step.start" in " ".join(plan.warnings)
    assert (world.run().rows_written, world.bound()) == (10, "15")
    # Who comes next may still get a number below 25.
    waiting = world.plan()
    assert waiting.step is not None
    assert "no row has reached 25" in waiting.step.waits
    assert (world.run().rows_total, world.bound()) == (0, "15")
    world.put({25: START})
    assert (world.run().rows_written, world.bound()) == (10, "25")


@pytest.mark.parametrize("world", ["pg18-warm"], indirect=True)
@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"column": "nothing"}, "no column 'nothing'"),
        ({"column": "v"}, "there are no steps"),
        ({"column": "id"}, "step.size is an amount of time"),
        ({"column": "day", "size": "6h"}, "must be in d, w, M or y"),
        ({"column": "day", "start": "2026-03-28T06:00"}, "a day is needed"),
        ({"start": "9999-12-30", "end": "9999-12-31", "size": "2d"}, "beyond the year 9999"),
    ],
)
def test_columns_that_do_not_fit(world: World, step: dict[str, Any], message: str) -> None:
    world.fill(1)
    world.bench.source.execute("ALTER TABLE t ADD COLUMN day date")
    world.configure(step=step)
    with pytest.raises(ConfigError, match=message):
        world.plan()


@pytest.mark.parametrize("world", ["pg18-warm"], indirect=True)
def test_a_step_is_through_when_it_is_checked(world: World) -> None:
    world.fill(30)
    world.configure()
    run = world.begun()
    run.plan("copy")
    run.copy("copy")
    assert isinstance(world.bench.target, Database)
    world.bench.target.execute("UPDATE t SET v = 'spoiled' WHERE id = 7")
    with pytest.raises(Mismatch):
        run.check("copy")
    assert world.bound() is None
    world.bench.target.execute("UPDATE t SET v = 'v' WHERE id = 7")
    run.check("copy")
    stood = world.bound()
    assert stood == "2026-03-29 00:00:00 Europe/Vienna"
    # Checked again it does not move, and a job without a key has no steps.
    run.check_again("copy")
    assert world.bound() == stood
    world.bench.source.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
    with pytest.raises(Refused, match=r"the key was \(id\), is none"):
        world.plan()
    forget_shapes(world.bench.state)
    with pytest.raises(ConfigError, match="mode: step merges rows by their key"):
        world.plan()


@pytest.mark.parametrize("world", ["pg18-s3"], indirect=True)
def test_two_jobs_on_a_table_keep_step(world: World) -> None:
    """What the one has not taken the other does not delete; the next run brings them together."""
    world.fill(40)
    step: dict[str, Any] = {"step": {**STEP, "size": "5h"}, "mode": "step", "purge": "system"}
    warm = world.bench.warm(**step) | {"name": "warm"}
    world.bench.write(warm, world.bench.s3(**step))
    assert [job.rows_purged for job in world.bench.run(new=True).jobs] == [5, 0]
    # The archive lags behind, as after a run that broke between the two purges.
    (lagging,) = [b for b in Bounds(world.bench.state).of_task("task") if b.key.job == "copy"]
    Bounds(world.bench.state).set(
        lagging.key, "2026-03-27T23:00+00:00", start="2026-03-28", by="ann"
    )
    apart = world.bench.run(new=True)
    assert [(job.rows_written, job.rows_purged) for job in apart.jobs] == [(5, 0), (0, 0)]
    assert (apart.state, world.ids()) == ("succeeded", list(range(5, 40)))
    together = world.bench.run(new=True)
    assert [job.rows_written for job in together.jobs] == [5, 5]
    assert world.ids() == list(range(10, 40))
    # A job that takes all rows at once would leave none for the next step.
    everything = world.bench.warm(purge="system") | {"name": "warm"}
    world.bench.write(everything, world.bench.s3(**step))
    with pytest.raises(Refused, match=r"job copy goes by steps, so that .* not taken yet"):
        world.bench.run(new=True)
    assert world.ids() == list(range(10, 40))


@pytest.mark.parametrize("world", ["pg18-warm", "mariadb-warm"], indirect=True)
def test_columns_of_every_kind(world: World) -> None:
    """Days, local times of a zone, decimals and large numbers: the bound itself is in the next."""
    local = "datetime(6)" if isinstance(world.bench.source, MySQLDatabase) else "timestamp"
    world.bench.source.execute(
        f"CREATE TABLE t (id bigint PRIMARY KEY, d date, l {local}, n numeric(30,4))",
        "INSERT INTO t VALUES "
        "(9007199254740991, '2026-02-28', '2026-03-29 01:59:59.999999', -0.5), "
        "(9007199254740992, '2026-03-01', '2026-03-29 02:00:00', 0.4999), "
        "(9007199254740993, '2026-03-31', '2026-03-29 02:59:59', 0.5), "
        "(9223372036854775807, '2026-04-01', '2026-03-29 03:00:00', 12345678901234567890.1234)",
    )
    vienna = {"zone": "Europe/Vienna"}
    cases = [
        ({"column": "d", "start": "2026-02-28", "size": "1M", "end": "2026-04-01"}, 2),
        ({"column": "d", "start": "2026-03-01", "size": "1M", "end": "2026-04-01"}, 2),
        ({"column": "l", "start": "2026-03-29", "size": "2h", "end": "now", **vienna}, 1),
        ({"column": "l", "start": "2026-03-29T02:00", "size": "1h", "end": "now", **vienna}, 2),
        # 1:00 in UTC, when the clocks in Vienna show three.
        ({"column": "l", "start": "2026-03-29", "size": "3h", "end": "2026-03-29T01:00Z"}, 0),
        (
            {
                "column": "l",
                "start": "2026-03-29",
                "size": "3h",
                "end": "2026-03-29T01:00Z",
                **vienna,
            },
            3,
        ),
        ({"column": "n", "start": -0.5, "size": 1, "end": 1}, 2),
        ({"column": "id", "start": 9007199254740992, "size": 2}, 2),
        ({"column": "id", "start": 9223372036854775807, "size": 1, "end": 9223372036854775808}, 1),
    ]
    for step, rows in cases:
        world.configure(whole=step)
        plan = world.plan()
        assert plan.rows == rows, (step, str(plan.step), plan.filter)
