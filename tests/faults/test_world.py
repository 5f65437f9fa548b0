"""The world in the way: clear errors, nothing lost, a true state, and a retry that works."""

from __future__ import annotations

from collections.abc import Callable

import psycopg.conninfo
import pytest

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Refused, Transient
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.postgres import PostgresStore
from dsp_airflow.state.database import open_state
from dsp_airflow.steps import TaskRun
from tests.engine.harness import Bench
from tests.engine.test_main_job import fill
from tests.servers import Database

Db = Bench[Database]


def other_login(bench: Db, side: str, **changed: str) -> Callable[[str], Store]:
    def store(conn_id: str) -> Store:
        if conn_id != side:
            return bench.store(conn_id)
        info = psycopg.conninfo.conninfo_to_dict(getattr(bench, side).uri)
        return PostgresStore(conn_id, {**info, **changed})

    return store


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"port": "1"}, Transient, "cannot connect.*check host, port"),
        ({"host": "no-such-host.invalid"}, Transient, "cannot connect"),
        ({"password": "wrong"}, Denied, "correct login and password"),
        ({"dbname": "nowhere"}, ConfigError, "does not exist; correct the Airflow connection"),
    ],
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_connections_that_do_not_open(
    bench: Db, side: str, changed: dict[str, str], error: type[DspError], message: str
) -> None:
    fill(bench, 10)
    bench.write(bench.job())
    run = bench.open()
    run.open_store = other_login(bench, side, **changed)
    with pytest.raises(error, match=message) as raised:
        run.plan("copy")
    assert "wrong" not in str(raised.value)
    assert side in str(raised.value)
    assert run.summary().jobs[0].state == "failed"


def limited(bench: Db, side: str, *grants: str) -> Callable[[str], Store]:
    """A store that logs in as a role with only these grants."""
    database: Database = getattr(bench, side)
    role = f"limited_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'limited'")
    for grant in grants:
        database.execute(f"GRANT {grant} TO {role}")
    return other_login(bench, side, user=role, password="limited")


@pytest.mark.parametrize(
    ("side", "grants", "purge", "message"),
    [
        ("source", [], "none", "permission denied for table t"),
        ("source", ["SELECT ON t"], "system", "GRANT SELECT, DELETE"),
        ("target", [], "none", "may not create it: GRANT CREATE"),
    ],
)
def test_missing_privileges(
    bench: Db, side: str, grants: list[str], purge: str, message: str
) -> None:
    fill(bench, 10)
    bench.target.execute("REVOKE CREATE ON SCHEMA public FROM public")
    bench.write(bench.job(purge=purge))
    run = bench.open()
    run.open_store = limited(bench, side, *grants)
    with pytest.raises((Denied, Refused), match=message):
        run.plan("copy")


def test_without_the_privilege_to_keep_markers(bench: Db) -> None:
    fill(bench, 50)
    bench.target.execute("REVOKE CREATE ON SCHEMA public FROM public")
    bench.target.execute("CREATE TABLE t (id bigint PRIMARY KEY, name text)")
    job = bench.job(columns=[{"source": "id"}, {"source": "name"}], batch_size=10)
    bench.write(job | {"on_conflict": "error"})
    store = limited(bench, "target", "SELECT, INSERT, UPDATE ON t")
    run = bench.open()
    run.open_store = store
    with pytest.raises(Denied, match="use on_conflict: update"):
        run.plan("copy")
    bench.write(job)
    run = bench.open(new=True)
    run.open_store = store
    run.plan("copy")
    assert run.copy("copy").rows_written == 50


def test_a_full_disk_on_the_target(bench: Db) -> None:
    fill(bench, 100)
    bench.target.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, name text)",
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.id > 55 THEN RAISE 'could not extend file: No space left on device' "
        "USING ERRCODE = '53100'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER full_disk BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    bench.write(bench.job(columns=[{"source": "id"}, {"source": "name"}], batch_size=10))
    with pytest.raises(Transient, match="No space left on device; make room"):
        bench.run()
    assert (bench.only().state, bench.only().rows_written) == ("failed", 50)
    assert bench.target.value("SELECT count(*) FROM t") == 50
    bench.target.execute("DROP TRIGGER full_disk ON t")
    assert bench.run().jobs[0].rows_written == 100


def test_a_trigger_that_swallows_rows(bench: Db) -> None:
    fill(bench, 20)
    bench.target.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, name text)",
        "CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN IF NEW.id = 7 THEN RETURN NULL; END IF; RETURN NEW; END'",
        "CREATE TRIGGER eat BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION eat()",
    )
    bench.write(bench.job(columns=[{"source": "id"}, {"source": "name"}]))
    with pytest.raises(DspError, match="sent 20 rows and the target took 19"):
        bench.run()
    assert bench.target.value("SELECT count(*) FROM t") == 0


@pytest.mark.parametrize(
    ("side", "harm", "message"),
    [
        ("source", "DROP TABLE t", "does not exist; it was dropped|gone since"),
        ("target", "DROP TABLE t", "does not exist; it was dropped|gone since"),
        ("source", "ALTER TABLE t DROP COLUMN name", "name"),
        ("source", "ALTER TABLE t ADD COLUMN more int", "column more added"),
        ("target", "ALTER TABLE t ALTER COLUMN name TYPE varchar(300)", "name was text"),
    ],
)
def test_a_table_altered_in_the_middle_of_a_run(
    bench: Db, side: str, harm: str, message: str
) -> None:
    fill(bench, 100)
    bench.write(bench.job(batch_size=10))
    run = bench.open()
    run.plan("copy")
    stop_after(run, 3)
    with pytest.raises(DspError):
        run.copy("copy")
    getattr(bench, side).execute(harm)
    with pytest.raises((Refused, ConfigError), match=message):
        bench.open().copy("copy")
    assert run.summary().jobs[0].state == "failed"
    assert run.summary().jobs[0].rows_written == 30


def stop_after(run: TaskRun, batches: int) -> None:
    """Asks the run to stop once so many batches are copied."""

    class Stopper:
        done = 0

        def on(self, event: object) -> None:
            if type(event).__name__ == "BatchDone":
                self.done += 1
                if self.done == batches:
                    run.pace.stop("the test says so")

    run.watch = Stopper()


def test_a_stopped_run_goes_on_where_it_stopped(bench: Db) -> None:
    fill(bench, 100)
    bench.write(bench.job(batch_size=10))
    run = bench.open()
    run.plan("copy")
    stop_after(run, 4)
    with pytest.raises(DspError, match="stopped at a batch edge"):
        run.copy("copy")
    assert (run.summary().jobs[0].state, run.summary().jobs[0].rows_written) == ("terminated", 40)
    again = bench.open()
    assert again.run.id == run.run.id
    assert again.copy("copy").rows_written == 100


def test_a_file_edited_in_the_middle_of_a_run(bench: Db) -> None:
    fill(bench, 30)
    bench.write(bench.job(batch_size=10))
    run = bench.open()
    run.plan("copy")
    job = run.task.jobs[0]
    run.task = run.task.model_copy(update={"jobs": (job.model_copy(update={"where": "id > 3"}),)})
    with pytest.raises(Refused, match="was edited after run"):
        run.copy("copy")
    assert bench.target.value("SELECT to_regclass('t') IS NULL")


def test_the_state_database_is_missing(bench: Db) -> None:
    with pytest.raises(ConfigError, match="dsp db upgrade"):
        open_state(f"sqlite:///{bench.folder}/none.db")


def test_onlookers_never_fail_the_work(bench: Db) -> None:
    class Broken:
        def on(self, event: object) -> None:
            raise RuntimeError(f"no terminal for {event}")

    fill(bench, 30)
    bench.write(bench.job(batch_size=10))
    run = bench.open()
    run.watch = Broken()
    run.plan("copy")
    assert run.copy("copy").rows_written == 30


def test_a_row_larger_than_allowed(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 10) n",
        "UPDATE t SET v = repeat('x', 3000000) WHERE id = 7",
    )
    bench.write(bench.job(max_row_size="2MiB"))
    with pytest.raises(Refused, match="max_row_size"):
        bench.run()
