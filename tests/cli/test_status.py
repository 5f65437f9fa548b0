"""`dsp status` and `dsp db`: what is known of runs, and whether it is as it was written."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from dsp_airflow.state.database import open_state
from dsp_airflow.state.runs import Runs
from tests.cli.harness import Dsp, job
from tests.servers import MySQLDatabase
from tests.state.samples import copied, planned, take


def purged(dsp: Dsp) -> str:
    dsp.fill(300)
    file = dsp.write(job(batch_size=100, purge="system"))
    done = dsp("run", file, "--json")
    assert done.code == 0, done.err
    return str(done.document["run"])


def test_runs_and_one_run(dsp: Dsp) -> None:
    assert dsp("status").out.strip() == "no runs yet"
    run = purged(dsp)
    assert run in dsp("status").out
    assert dsp("status", "--task", "other", "--json").document == {"runs": []}
    shown = dsp("status", run, "--json").document
    assert list(shown)[:4] == ["task", "run", "state", "jobs"]
    assert [one["state"] for one in shown["batches"]["copy"]] == ["purged"] * 3
    assert [one["source_data"] for one in shown["batches"]["copy"]] == ["processed"] * 3
    assert [one["number"] for one in shown["batches"]["copy"]] == [1, 2, 3]
    assert shown["jobs"][0]["rows_purged"] == 300
    assert "purged" in dsp("status", run).out


def test_of_many_batches_the_remarkable_ones(dsp: Dsp) -> None:
    """``--json`` has all of them."""
    assert dsp("db", "upgrade").code == 0
    with open_state(f"sqlite:///{dsp.state}") as database:
        ledger = planned(Runs(database), 250)
        for _ in range(240):
            ledger.copied(take(ledger, "copy"), copied())
        failed = take(ledger, "copy")
        ledger.release(failed, "the disk is full")
        run = ledger.run_id
    shown = dsp("status", run).out
    assert "the disk is full" in shown
    assert "and 249 more batches: 240 copied, 9 waiting; --json lists all of them" in shown
    assert len(dsp("status", run, "--json").document["batches"]["flights"]) == 250


def test_an_edited_receipt_is_named(dsp: Dsp) -> None:
    run = purged(dsp)
    assert dsp("status", "--verify").code == 0
    with closing(sqlite3.connect(dsp.state)) as connection, connection:
        connection.execute(
            """UPDATE receipts SET body = replace(body, '"rows":100', '"rows":99') WHERE seq = 2"""
        )
    done = dsp("status", "--verify")
    assert done.code == 3
    assert f"receipt 2 (run {run}, job copy, batch 2) was edited" in done.out
    done = dsp("status", run, "--verify", "--json")
    assert done.code == 3
    assert done.document["receipts"] == 3
    assert any("batch 2" in one for one in done.document["problems"])


def test_looking_after_the_database(dsp: Dsp) -> None:
    missing = dsp("db", "version")
    assert (missing.code, "dsp db upgrade" in missing.err) == (2, True)
    assert dsp("db", "prune", "--older-than", "90d").code == 2
    assert dsp("db", "upgrade").code == 0
    assert "schema" in dsp("db", "version").out
    run = purged(dsp)
    assert dsp("db", "backup", "kept.jsonl").code == 0
    assert dsp("db", "backup", "kept.jsonl").code == 4
    done = dsp("db", "prune", "--older-than", "0s")
    assert (done.code, "removed 0 runs" in done.out) == (0, True)
    dsp.state.rename(dsp.folder / "old.db")
    assert dsp("db", "restore", "kept.jsonl").code == 0
    assert run in dsp("status").out
    assert dsp("status", "--verify").code == 0


def test_a_connection_to_mysql(dsp: Dsp, my_db: MySQLDatabase) -> None:
    dsp.connections["shop"] = my_db.uri
    done = dsp("check-connection", "shop", "--json")
    assert done.code == 0, done.err
    found = {one["subject"]: one for one in done.document["findings"]}
    assert found["version"]["text"] == f"{my_db.server.product} {my_db.server.version}"
    assert {one["state"] for one in found.values()} == {"ok", "warning"}


def test_a_connection(dsp: Dsp) -> None:
    done = dsp("check-connection", "source")
    assert done.code == 0, done.err
    assert "PostgreSQL 18" in done.out
    found = dsp("check-connection", "source", "--json").document["findings"]
    assert {one["state"] for one in found} <= {"ok", "warning"}


def test_what_the_source_does_not_have_is_told(dsp: Dsp) -> None:
    dsp.fill(20)
    file = dsp.write(job(delete_missing={"limit": "50%"}))
    assert dsp("run", file).code == 0
    dsp.source.execute("DELETE FROM t WHERE id < 4")
    assert "at least 3 are missing there and would be deleted, of up to 10" in " ".join(
        dsp("plan", file).out.split()
    )
    done = dsp("run", file, "--new", "--json")
    assert (done.code, done.job["rows_missing"], done.job["rows_deleted"]) == (0, 3, 3)
    told = dsp("status", done.document["run"])
    assert "Deleted from the target: copy: 3 of 3 rows that the source does not have" in told.out
    assert dsp.target.value("SELECT count(*) FROM t") == 17
    dsp.source.execute("DELETE FROM t WHERE id < 19")
    refused = dsp("run", file, "--new", "--json")
    assert refused.code == 4
    assert "15 of 17 rows of the target public.t are missing" in refused.job["error"]
