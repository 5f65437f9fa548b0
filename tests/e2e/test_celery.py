"""A job's shards on several workers of a distributed Airflow, of which some are killed."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from dsp_airflow.demo.rest import AirflowApi
from dsp_airflow.state import receipts
from dsp_airflow.state.database import open_state, upgrade
from dsp_airflow.state.runs import Runs
from tests.e2e.celery_airflow import CeleryAirflow
from tests.e2e.conftest import REPOSITORY
from tests.servers import REPORT, Database, PostgresServer, RedisServer, fresh_database

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROWS, BATCH = 10_000, 50
BATCHES = ROWS // BATCH
WAIT_SECONDS = 240.0

TASK = f"""\
    name: moved
    retry_delay: 1s
    retry_backoff: 1
    jobs:
      - name: orders
        type: warm
        source: {{connection: shop, table: public.orders}}
        target: {{connection: warehouse, table: public.orders}}
        where: "id <= {ROWS}"
        batch_size: {BATCH}
        shards: 2
        check: {{percent: 100}}
        accept_triggers: [takes_time]
        purge: system
    """

# A batch takes a while in its transaction, so that a kill meets one there.
TAKES_TIME = (
    "CREATE TABLE pace (seconds float8)",
    "INSERT INTO pace VALUES (0.05)",
    """CREATE FUNCTION takes_time() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       PERFORM pg_sleep(seconds) FROM pace; RETURN NULL; END $$""",
    "CREATE TRIGGER takes_time BEFORE {} ON orders EXECUTE FUNCTION takes_time()",
)
ORDERED = "SELECT * FROM orders ORDER BY id"
ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, customer text, total numeric(12, 2))"


@dataclass
class Cluster:
    """Airflow, its workers and the databases around."""

    airflow: CeleryAirflow
    api: AirflowApi
    source: Database
    target: Database
    state: Database
    runs: Runs
    apart: bool
    """Whether each worker is on a machine of its own."""

    def begin(self) -> None:
        self.api.wait_for_dag("moved", WAIT_SECONDS)
        self.api.unpause("moved")
        self.api.trigger("moved", "first")

    def wait_for_workers(self, number: int, phase: str, column: str) -> dict[str, str]:
        """Until so many have been in a phase for a while; what they hold, as below."""
        found: list[dict[str, str]] = []

        def all_work() -> bool:
            found.append(self.at_work(phase))
            return len(found[-1]) == number and self.done(column) > 20

        assert self.api.wait_for(all_work, WAIT_SECONDS), self.logs()
        return found[-1]

    def at_work(self, phase: str) -> dict[str, str]:
        """The workers that hold batches at this moment, each with one of its owners' names."""
        rows = self.state.rows(
            "SELECT DISTINCT lease_owner FROM batches WHERE lease_phase = %s", phase
        )
        found = {owner: self.airflow.worker_of(owner) for (owner,) in rows}
        return {worker: owner for owner, worker in found.items() if worker}

    def leader(self, found: dict[str, str]) -> str:
        """Of these workers the one of the shard that sees the job to its end."""
        told = self.api.get("/dags/moved/dagRuns/first/taskInstances/orders.copy/0")
        for worker, owner in found.items():
            host, _, _, pid, _, _ = owner.rsplit(":", 5)
            if (host, pid) == (told["hostname"], str(told["pid"])):
                return worker
        raise AssertionError(f"{told} is none of {found}")

    def done(self, column: str) -> int:
        """Batches that are through a phase."""
        return int(self.state.value(f"SELECT count({column}) FROM batches"))

    def logs(self) -> str:
        tasks = self.api.task_instances("moved", "first")
        return "\n".join(
            f"{t.task} {t.state}\n{self.airflow.task_log('moved', 'first', t.task)}" for t in tasks
        )


@pytest.fixture(scope="module")
def redis_server(pytestconfig: pytest.Config) -> Iterator[RedisServer]:
    with RedisServer() as server:
        pytestconfig.stash[REPORT].used.add(f"Redis {server.version}")
        yield server


@pytest.fixture(
    params=[
        pytest.param(False, id="on one machine"),
        # Nobody sees there that the other worker is dead: its leases have to run out.
        pytest.param(True, id="on two machines", marks=pytest.mark.soak),
    ]
)
def cluster(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    pg15: PostgresServer,
    redis_server: RedisServer,
) -> Iterator[Cluster]:
    with ExitStack() as stack:
        source, target, state, metadata = (
            stack.enter_context(fresh_database(pg15)) for _ in range(4)
        )
        source.execute(ORDERS, *(s.format("DELETE") for s in TAKES_TIME))
        source.execute(
            "INSERT INTO orders SELECT n, 'Customer ' || n % 97, n / 7.0 "
            f"FROM generate_series(1, {ROWS + 500}) AS n"
        )
        target.execute(ORDERS, *(s.format("INSERT") for s in TAKES_TIME))
        upgrade(state.uri)
        airflow = CeleryAirflow(
            tmp_path,
            dags=_dags_folder(tmp_path / "dags"),
            plugins=REPOSITORY / "plugins",
            state_url=state.uri,
            metadata_url=metadata.uri,
            broker=redis_server.url,
            connections={"shop": source.uri, "warehouse": target.uri},
            settings={
                # Redis hands a message out again although its task goes on: after a day by default.
                "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "10",
                # How soon Airflow gives up a silent worker: after five minutes by default.
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "12",
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
                "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
            },
            workers=("one", "two"),
            apart=request.param,
        )
        stack.enter_context(airflow)
        api = airflow.wait_until_ready()
        stack.callback(api.close)
        runs = Runs(stack.enter_context(open_state(state.uri)))
        yield Cluster(airflow, api, source, target, state, runs, request.param)


def _dags_folder(folder: Path) -> Path:
    (folder / "tasks").mkdir(parents=True)
    shutil.copy(REPOSITORY / "dags" / "dsp_tasks.py", folder)
    (folder / "tasks" / "moved.yaml").write_text(textwrap.dedent(TASK))
    return folder


def test_workers_are_killed_while_they_copy_and_purge(cluster: Cluster) -> None:
    airflow, api = cluster.airflow, cluster.api
    original = cluster.source.rows(ORDERED)
    cluster.begin()

    # Both copy; one is killed.
    both = cluster.wait_for_workers(2, "copy", "copied_at")
    victim = leader = cluster.leader(both)
    (survivor,) = both.keys() - {leader}
    if cluster.apart:
        victim, survivor = survivor, victim
    airflow.kill_worker(victim)
    copied = cluster.done("copied_at")
    assert copied < BATCHES - 20
    cluster.target.execute("UPDATE pace SET seconds = 0")
    assert api.wait_for(lambda: cluster.done("copied_at") == BATCHES, WAIT_SECONDS), cluster.logs()
    assert set(cluster.at_work("copy")) <= {survivor}

    # Another one comes; the one that purges is killed.
    airflow.start_worker("three")
    airflow.wait_for_worker("three")
    (purging,) = cluster.wait_for_workers(1, "purge", "purged_at")
    airflow.kill_worker(purging)
    purged = cluster.done("purged_at")
    assert purged < BATCHES - 20
    cluster.source.execute("UPDATE pace SET seconds = 0")

    assert api.wait_for_run("moved", "first", WAIT_SECONDS) == "success", cluster.logs()
    assert cluster.target.rows(ORDERED) == original[:ROWS]
    assert cluster.source.rows(ORDERED) == original[ROWS:]
    run = cluster.runs.latest("moved")
    assert run is not None
    (job,) = cluster.runs.summary(run.id).jobs
    assert (run.state, job.state) == ("succeeded", "succeeded")
    assert (job.rows_total, job.rows_written, job.rows_checked) == (ROWS, ROWS, ROWS)
    assert (job.rows_different, job.rows_purged, job.rows_kept) == (0, ROWS, 0)
    assert (job.batches, job.batches_purged) == (BATCHES, BATCHES)
    assert receipts.verify(cluster.runs.database) == []
    assert cluster.state.value("SELECT count(*) FROM receipts") == BATCHES
    # The lost ones were tried again, and nothing else was.
    tries = {(t.task, t.tries) for t in api.task_instances("moved", "first") if t.tries > 1}
    assert tries == {("orders.copy", 2), ("purge.orders", 2)}


@pytest.mark.soak
@pytest.mark.parametrize("cluster", [False], indirect=True, ids=["on one machine"])
def test_who_is_asked_to_end_breaks_no_batch_off(cluster: Cluster) -> None:
    """A pod that is evicted tells the process that watches over its step; a Celery worker that is
    stopped tells nobody, and ends when its steps have.
    """
    airflow, api = cluster.airflow, cluster.api
    original = cluster.source.rows(ORDERED)
    cluster.begin()
    evicted, stopped = cluster.wait_for_workers(2, "copy", "copied_at").items()

    pid = int(evicted[1].rsplit(":", 5)[3])
    watching = psutil.Process(pid).parent()
    assert watching is not None
    watching.terminate()
    step, left = psutil.wait_procs([psutil.Process(pid)], timeout=20)
    assert (len(step), left) == (1, [])
    assert cluster.done("copied_at") < BATCHES - 20
    airflow.stop_worker(stopped[0])
    cluster.target.execute("UPDATE pace SET seconds = 0")
    cluster.source.execute("UPDATE pace SET seconds = 0")

    assert api.wait_for_run("moved", "first", WAIT_SECONDS) == "success", cluster.logs()
    assert cluster.target.rows(ORDERED) == original[:ROWS]
    assert cluster.source.rows(ORDERED) == original[ROWS:]
    tries = [(t.task, t.tries) for t in api.task_instances("moved", "first") if t.tries > 1]
    assert tries == [("orders.copy", 2)]
    assert cluster.state.rows("SELECT DISTINCT error FROM batches") == [(None,)]
    assert airflow.exit_code(stopped[0]) == 0
