"""`dsp run`: lines, document, exit codes, stopping and going on."""

from __future__ import annotations

import signal
import threading
import time

from dsp_airflow.approval.settings import NOT_ENFORCED
from dsp_airflow.cli.ordering import at_once
from dsp_airflow.config import Task
from dsp_airflow.engine.errors import Transient
from dsp_airflow.permissions.settings import NOT_ENFORCED as GRANTS_NOT_ENFORCED
from tests.cli.harness import Dsp, job

KEYS = [
    "name",
    "state",
    "rows_total",
    "rows_read",
    "rows_written",
    "rows_failed",
    "rows_checked",
    "rows_different",
    "rows_purged",
    "rows_kept",
    "batches",
    "error",
]


def test_lines_of_a_copy_to_the_letter(dsp_on_each: Dsp) -> None:
    dsp = dsp_on_each
    dsp.fill(50_000, "users")
    file = dsp.write(job("Sync_Users", "users", batch_size=1000, check="none"))
    done = dsp("run", file, "--json")
    assert done.code == 0, done.err
    batches = [f"[INFO] Processing batch {n}/50 (1000 records)" for n in range(1, 51)]
    assert done.lines == [
        f"[INFO] {GRANTS_NOT_ENFORCED}",
        f"[INFO] {NOT_ENFORCED}",
        "[INFO] Starting sync job: Sync_Users",
        "[INFO] Fetching records from source: users",
        "[INFO] Total records: 50,000",
        *batches,
        "[INFO] Sync completed. Total: 50,000, Success: 50,000, Failed: 0",
    ]
    assert list(done.document) == ["task", "run", "state", "jobs", "approval_enforced"]
    assert list(done.job) == KEYS
    assert done.job == {
        "name": "Sync_Users",
        "state": "succeeded",
        "rows_total": 50_000,
        "rows_read": 50_000,
        "rows_written": 50_000,
        "rows_failed": 0,
        "rows_checked": 0,
        "rows_different": 0,
        "rows_purged": 0,
        "rows_kept": 0,
        "batches": 50,
        "error": None,
    }


def test_copy_check_and_purge_in_one_go(dsp: Dsp) -> None:
    dsp.fill(1000)
    file = dsp.write(job(where="id <= 600", batch_size=100, purge="system"))
    done = dsp("run", file)
    assert done.code == 0, done.err
    assert "of task task: succeeded" in done.out
    assert done.lines[-1] == "[INFO] Purge completed. Purged: 600, Kept: 0"
    assert "[INFO] Check completed. Total: 600, Compared: 100, Different: 0" in done.lines
    assert dsp.source.value("SELECT count(*) FROM t") == 400
    assert dsp.target.value("SELECT count(*) FROM t") == 600
    assert sorted(path.name for path in dsp.home.iterdir() if "dsp.db" not in path.name) == []


def test_a_target_that_is_replaced(dsp: Dsp) -> None:
    dsp.fill(300)
    dsp.target.execute("CREATE TABLE t (id bigint PRIMARY KEY)", "INSERT INTO t VALUES (-1)")
    file = dsp.write(job(mode="replace", columns=[{"source": "id"}], batch_size=100))
    planned = dsp("plan", file)
    assert "(a new table takes its place)" in planned.out
    assert "the 1 rows of public.t give way to 300" in " ".join(planned.out.split())
    done = dsp("run", file)
    assert done.code == 0, done.err
    assert done.lines[-1] == "[INFO] public.t is the new table from now on"
    assert "Swap: copy: the new table stands in the target's place" in done.out
    assert dsp.target.rows("SELECT count(*), min(id) FROM t") == [(300, 1)]


def test_kept_rows_are_no_failure(dsp: Dsp) -> None:
    dsp.fill(300)
    file = dsp.write(job(batch_size=100, purge="manual"))
    assert dsp("run", file, "--quiet").code == 0
    dsp.source.execute("UPDATE t SET name = 'changed' WHERE id IN (7, 250)")
    done = dsp("purge", file, "--batches", "all", "--json")
    assert done.code == 0, done.err
    assert done.document["state"] == "succeeded"
    assert (done.job["rows_purged"], done.job["rows_kept"]) == (298, 2)
    assert "[INFO] Batch 1/3: 1 records were kept" in done.lines
    assert dsp.source.rows("SELECT id FROM t ORDER BY id") == [(7,), (250,)]


def test_quiet_says_nothing(dsp: Dsp) -> None:
    dsp.fill(10)
    done = dsp("run", dsp.write(job()), "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_jobs_at_once(dsp: Dsp) -> None:
    dsp.fill(400, "a")
    dsp.fill(500, "b")
    file = dsp.write(job("a", "a", batch_size=100, workers=2), job("b", "b"), execution="parallel")
    done = dsp("run", file, "--json")
    assert done.code == 0, done.err
    assert [(one["name"], one["rows_written"]) for one in done.document["jobs"]] == [
        ("a", 400),
        ("b", 500),
    ]


def test_a_failed_job_of_several_at_once_hides_no_other(dsp: Dsp) -> None:
    dsp.fill(400, "a")
    file = dsp.write(job("missing", "nope"), job("a", "a"), execution="parallel")
    done = dsp("run", file, "--json")
    assert done.code == 2
    missing, copied = done.document["jobs"]
    assert (missing["state"], copied["state"]) == ("failed", "succeeded")
    assert "no table nope" in missing["error"]
    assert done.document["state"] == "failed"


def test_one_job_of_several_then_the_rest(dsp: Dsp) -> None:
    dsp.fill(300)
    file = dsp.write(
        job("first", target={"table": "one"}, purge="system"),
        job("second", target={"table": "two"}),
    )
    first = dsp("run", file, "--job", "first", "--json")
    assert first.code == 0, first.err
    assert (first.document["state"], first.job["state"]) == ("succeeded", "checked")
    assert dsp.source.value("SELECT count(*) FROM t") == 300
    rest = dsp("run", file, "--json")
    assert rest.code == 0, rest.err
    assert rest.document["run"] == first.document["run"]
    assert [one["state"] for one in rest.document["jobs"]] == ["succeeded", "succeeded"]
    assert dsp.source.value("SELECT count(*) FROM t") == 0
    assert dsp("run", file, "--job", "fist").code == 2


def test_stopped_at_a_batch_edge_and_gone_on(dsp: Dsp) -> None:
    dsp.fill(20_000)
    file = dsp.write(job(batch_size=100))
    work = dsp.start("run", file, "--json")
    work.wait_for(r"batch 3/200")
    work.send(signal.SIGTERM)
    stopped = work.end()
    assert stopped.code == 1, stopped.err
    assert (stopped.document["state"], stopped.job["state"]) == ("terminated", "terminated")
    written = stopped.job["rows_written"]
    assert 0 < written < 20_000
    assert written % 100 == 0
    assert dsp.target.value("SELECT count(*) FROM t") == written
    listed = dsp("status", "--json").document["runs"]
    assert [one["state"] for one in listed] == ["terminated"]

    done = dsp("run", file, "--json")
    assert done.code == 0, done.err
    assert done.document["run"] == stopped.document["run"]
    assert done.job["rows_written"] == dsp.target.value("SELECT count(*) FROM t") == 20_000
    assert not any("batch 1/200 (" in line and "Processing" in line for line in done.lines)


def test_second_interrupt_does_not_wait(dsp: Dsp) -> None:
    dsp.fill(1000)
    file = dsp.write(job(batch_size=100))
    with dsp.source.connect() as blocker:
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE t")
        work = dsp.start("run", file, "--json")
        # Planning waits for the lock, far from any batch edge.
        _wait_until_blocked(dsp)
        work.send(signal.SIGINT)
        work.wait_for("Ctrl-C again aborts")
        work.send(signal.SIGINT)
        done = work.end()
    assert done.code == 1
    assert done.document["state"] == "terminated"
    assert [one["state"] for one in dsp("status", "--json").document["runs"]] == ["terminated"]
    assert dsp("run", file).code == 0


def _wait_until_blocked(dsp: Dsp) -> None:
    deadline = time.monotonic() + 60
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    while not dsp.source.value(query, dsp.source.name):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_unfinished_run_with_another_definition(dsp: Dsp) -> None:
    dsp.fill(100)
    dsp.source.execute("ALTER TABLE t ADD COLUMN odd int")
    dsp.source.execute("UPDATE t SET odd = id")
    dsp.target.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, name text, amount numeric(12,2), "
        "odd int CHECK (odd < 100))"
    )
    file = dsp.write(job(batch_size=10))
    assert dsp("run", file).code == 4
    dsp.write(job(batch_size=10, where="id > 0"))
    refused = dsp("run", file, "--json")
    assert refused.code == 4
    assert "--new" in refused.err
    assert refused.document["state"] == "failed"
    assert "--new" in refused.document["error"]
    dsp.target.execute("ALTER TABLE t DROP CONSTRAINT t_odd_check")
    assert dsp("run", file, "--new").code == 0


def test_differences_end_a_run_with_3(dsp: Dsp) -> None:
    dsp.fill(100)
    dsp.target.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, name text, amount numeric(12,2))",
        "CREATE FUNCTION harm() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.id = 42 THEN NEW.name := 'harmed'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER harm BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION harm()",
    )
    done = dsp("run", dsp.write(job(check={"percent": 100}, purge="system")), "--json")
    assert done.code == 3, done.err
    assert done.document["state"] == "failed"
    assert done.job["rows_different"] == 1
    assert "changed 42 (name)" in done.job["error"]
    assert dsp.source.value("SELECT count(*) FROM t") == 100


def test_a_job_begins_when_those_before_it_are_through(dsp: Dsp) -> None:
    dsp.fill(400, "a")
    # What the second reads is what the first writes.
    second = job("second", "b", source={"connection": "target"}, target={"table": "c"})
    first = job("first", "a", target={"table": "b"}, purge="system")
    file = dsp.write({**second, "after": ["first"]}, first, execution="parallel")
    dsp.target.execute(
        "CREATE TABLE b (id bigint PRIMARY KEY CHECK (id < 399), name text, amount numeric(12,2))"
    )
    failed = dsp("run", file)
    assert failed.code == 4
    assert "second was not begun: it comes after first, not done." in failed.out
    alone = dsp("run", file, "--job", "second")
    assert alone.code == 4
    assert "second comes after first, which this run has not done yet" in alone.err
    assert dsp.target.value("SELECT to_regclass('c')") is None

    dsp.target.execute("ALTER TABLE b DROP CONSTRAINT b_id_check")
    assert dsp("run", file, "--job", "first").code == 0
    # The first has its purge yet to come, which waits for all.
    done = dsp("run", file, "--job", "second", "--json")
    assert done.code == 0, done.err
    assert dsp.target.value("SELECT count(*) FROM c") == 400


def test_jobs_wait_for_those_before_them_and_for_no_other() -> None:
    after = {"a": ["b", "c"], "b": ["c"], "c": [], "d": [], "e": ["broken"], "broken": []}
    jobs = [job(name, name, after=before) for name, before in after.items()]
    task = Task.model_validate({"name": "task", "execution": "parallel", "jobs": jobs})
    told: list[str] = []
    free = threading.Event()

    def act(name: str) -> None:
        told.append(name)
        if name == "d":
            free.set()
        elif name == "broken":
            raise Transient("the connection was cut")
        elif name == "c":
            assert free.wait(30), "d waits for nobody"
        told.append(f"{name} done")

    errors, waiting = at_once(task, act)
    assert [str(error) for error in errors] == ["the connection was cut"]
    assert waiting == ["e was not begun: it comes after broken, not done."]
    order = ["c", "c done", "b", "b done", "a", "a done"]
    assert [one for one in told if one in order] == order
    assert "e" not in told
