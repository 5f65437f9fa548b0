"""Runs and batches over the API: lists, counts, pages, and who sees which."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.progress import batches as all_batches
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.tables import BATCHES, RUNS
from tests.engine.scenes import Db, small
from tests.state.samples import (
    ROWS,
    check_all,
    checked,
    copied,
    copy_all,
    planned,
    purge_all,
    purged,
    take,
)
from tests.web.served import Served

VERA: dict[str, Any] = {"user": "vera", "role": "VIEWER"}
JOBS = "/jobs/flights"


def begun(state: StateDatabase, task: str, kind: str = "warm", key: str | None = None) -> str:
    definition = {"name": task, "owner": "olga", "jobs": [{"name": "one", "type": kind}]}
    return Runs(state).start(task, f"{task}.yaml", definition, "d", external_key=key).id


def test_lists_of_runs(api: Served, state: StateDatabase) -> None:
    runs = Runs(state)
    ids = [begun(state, f"task_{n}", "s3" if n % 2 else "warm") for n in range(5)]
    by_airflow = begun(state, "task_5", key="by_hand/manual__2026-01-01T00:00:00+00:00/one")
    runs.finish(ids[0], "succeeded")
    runs.finish(ids[1], "failed", "cannot connect to db:5432; is it there?")
    runs.begin(ids[2])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    with state.write() as connection:
        for number, run in enumerate([*ids, by_airflow]):
            begins = moment + timedelta(hours=number)
            connection.execute(update(RUNS).where(RUNS.c.id == run).values(created_at=begins))

    def listed(query: str) -> list[str]:
        page = api.get(f"/runs?{query}", **VERA)
        assert page["total"] == len(page["items"])
        return [one["id"] for one in page["items"]]

    assert listed("") == [by_airflow, *reversed(ids)]
    assert listed("type=s3") == [ids[3], ids[1]]
    assert listed("tab=completed") == [ids[0]]
    assert listed("tab=exception") == [ids[1]]
    assert listed("tab=in_progress&descending=false") == [*ids[2:], by_airflow]
    assert listed("state=failed&state=running") == [ids[2], ids[1]]
    assert listed("name=SK_3") == [ids[3]]
    assert listed(f"name={ids[4]}") == [ids[4]]
    assert listed("name=%25") == []
    assert listed("task=task_1") == [ids[1]]
    assert listed("dag=by_hand") == [by_airflow]
    assert listed("dag=by_hand&dag_run=manual__2026-01-01T00:00:00%2B00:00") == [by_airflow]
    assert listed("dag=by_hand&dag_run=manual") == []
    assert listed("since=2026-01-01T01:00:00Z&until=2026-01-01T04:00:00%2B01:00") == [
        ids[2],
        ids[1],
    ]
    assert listed("sort=task&descending=false&since=2026-01-01T03:00:00Z") == [
        *ids[3:],
        by_airflow,
    ]
    page = api.get("/runs?limit=2&offset=1", **VERA)
    assert [one["id"] for one in page["items"]] == [ids[4], ids[3]]
    assert (page["total"], page["limit"], page["offset"]) == (6, 2, 1)
    (last,) = api.get("/runs?limit=1", **VERA)["items"]
    assert last["dag"] == "by_hand"
    assert last["airflow"] == {
        "dag_id": "by_hand",
        "dag_run_id": "manual__2026-01-01T00:00:00+00:00",
    }
    assert last["created_at"] == "2026-01-01T05:00:00Z"
    failed = api.get(f"/runs/{ids[1]}", **VERA)
    assert failed["error"].startswith("cannot connect")
    assert failed["next_step"].startswith("Bring the server, or the network to it, back.")
    assert (failed["owner"], failed["airflow"]) == ("olga", None)
    for wrong in ("limit=0", "limit=501", "offset=-1", "tab=x", "since=2026-01-01T00:00", "type=x"):
        assert api("GET", f"/runs?{wrong}", **VERA).status_code == 422


def test_who_sees_which_runs(
    api: Served, state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, hidden = begun(state, "seen"), begun(state, "hidden")
    other = begun(state, "seen", key="hidden/manual__1")
    api.forbid(monkeypatch, "hidden")
    page = api.get("/runs", **VERA)
    assert [one["id"] for one in page["items"]] == [seen]
    assert page["total"] == 1
    for path in ("", "/differences", "/jobs/one/batches", "/jobs/one/strip"):
        for run in (hidden, other, "nothing"):
            answer = api("GET", f"/runs/{run}{path}", **VERA)
            assert (answer.status_code, answer.json()["detail"]) == (
                404,
                f"there is no run {run} that you may see",
            )
    assert api("GET", f"/runs/{seen}/jobs/two/batches", **VERA).status_code == 404
    assert api.get(f"/runs/{seen}", user="olga", role="VIEWER")["may_steer"]
    assert not api.get(f"/runs/{seen}", **VERA)["may_steer"]
    assert api.get(f"/runs/{seen}", user="uwe", role="USER")["may_steer"]


def test_counts_batches_and_their_states(api: Served, state: StateDatabase) -> None:
    runs = Runs(state)
    ledger = planned(runs, 12, percent=100.0)
    run = ledger.run
    runs.begin(run)
    for number in range(1, 11):
        ledger.copied(take(ledger, "copy", [number]), copied())
    ledger.release(take(ledger, "copy", [11]), "disk full on db")
    for number in range(1, 9):
        ledger.checked(take(ledger, "check", [number]), checked(2 if number == 8 else 0))
    for number in range(1, 7):
        claim = take(ledger, "purge", [number])
        ledger.purging(claim, "{}")
        ledger.purged(claim, purged(ledger, claim, kept=3 if number == 6 else 0))
    for phase, number in (("purge", 7), ("check", 9), ("copy", 12)):
        take(ledger, phase, [number])  # type: ignore[arg-type]
    (job,) = api.get(f"/runs/{run}", **VERA)["jobs"]
    assert (job["batches"], job["batches_copied"], job["batches_purged"]) == (12, 10, 6)
    assert (job["rows_total"], job["rows_written"], job["rows_failed"]) == (120, 100, 10)
    assert (job["rows_purged"], job["rows_kept"], job["source_data"]) == (57, 3, "kept")
    # 30 TiB: more than JavaScript counts exactly.
    assert job["bytes"] == 10 * 3 * 2**40
    page = api.get(f"/runs/{run}{JOBS}/batches", **VERA)
    assert page["total"] == 12
    states = [one["state"] for one in page["items"]]
    ends = ["kept", "purging", "different", "checking", "copied", "waiting", "copying"]
    assert states == ["purged"] * 5 + ends
    # The same by the other way that tells them.
    assert states == [one.state for one in all_batches(state, run, "flights")]
    assert page["items"][10]["error"] == "disk full on db"
    assert (page["items"][0]["after"], page["items"][0]["upto"]) == (["0", "x"], ["1", "é"])
    assert page["items"][5]["receipts"] == [6]
    some = api.get(f"/runs/{run}{JOBS}/batches?limit=3&offset=4", **VERA)["items"]
    assert [one["number"] for one in some] == [5, 6, 7]
    for name, count in Counter(states).items():
        found = api.get(f"/runs/{run}{JOBS}/batches?state={name}", **VERA)
        assert (found["total"], {one["state"] for one in found["items"]}) == (count, {name})
    found = api.get(f"/runs/{run}{JOBS}/batches?state=purged&state=kept&offset=5", **VERA)
    assert ([one["number"] for one in found["items"]], found["total"]) == ([6], 6)
    strip = api.get(f"/runs/{run}{JOBS}/strip?cells=5", **VERA)
    assert strip["batches"] == 12
    assert [(one["first"], one["last"]) for one in strip["cells"]] == [
        (1, 3),
        (4, 6),
        (7, 9),
        (10, 12),
    ]
    assert strip["cells"][1]["states"] == {"purged": 2, "kept": 1}
    assert [one["errors"] for one in strip["cells"]] == [0, 0, 0, 1]
    assert len(api.get(f"/runs/{run}{JOBS}/strip?cells=1000", **VERA)["cells"]) == 12
    found = api.get(f"/runs/{run}/differences?limit=1&offset=4", **VERA)
    assert found["total"] == 5
    assert found["items"][0]["key"] == ["1", "é"]
    assert api.get(f"/runs/{run}/differences?batch=6", **VERA)["total"] == 3
    assert api.get(f"/runs/{run}/differences?job=x", **VERA)["items"] == []


def test_big_numbers_are_text(api: Served, state: StateDatabase) -> None:
    ledger = planned(Runs(state), 2)
    with state.write() as connection:
        connection.execute(update(BATCHES).values(rows=2**52 + 1))
    (job,) = api.get(f"/runs/{ledger.run}")["jobs"]
    assert job["rows_total"] == str(2**53 + 2)
    assert api.get(f"/runs/{ledger.run}{JOBS}/batches")["items"][0]["rows"] == 2**52 + 1


def test_a_real_run_from_its_beginning_to_its_end(
    bench: Db, api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small(bench, 1000, batch_size=100)
    path = f"/runs/{run.run.id}"
    (job,) = api.get(path)["jobs"]
    assert (job["state"], job["progress"], job["source_data"]) == ("planned", 0.0, "unprocessed")
    assert (job["source"], job["target"]) == ("source: public.t", "target: public.t")
    assert (job["mode"], job["filter"], job["check_percent"]) == ("full", None, 100.0)
    assert job["purge"] == "system"
    run.copy("copy")
    # One of its three steps.
    assert api.get(path)["progress"] == pytest.approx(1 / 3, abs=1e-4)
    run.check("copy")
    assert api.get(path)["progress"] == pytest.approx(2 / 3, abs=1e-4)
    run.purge("copy")
    run.finish()
    shown = api.get(path)
    (job,) = shown["jobs"]
    assert (shown["state"], job["progress"], job["source_data"]) == ("succeeded", 1.0, "processed")
    assert job["rows_per_second"] > 0
    assert job["eta"] is None
    assert shown["seconds"] > 0
    assert shown["progress"] == 1.0
    assert shown["notes"] == []


def test_values_of_rows_are_for_who_may_steer(bench: Db, api: Served) -> None:
    bench.source.execute(
        "CREATE TABLE t (id text PRIMARY KEY, v text)", "INSERT INTO t VALUES ('1', 'a secret')"
    )
    bench.write(bench.job(check={"percent": 100}, report_values=True), owner="olga")
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.target.execute("UPDATE t SET v = 'another secret'")
    with pytest.raises(Mismatch):
        run.check("copy")
    path = f"/runs/{run.run.id}/differences"
    (seen,) = api.get(path, user="olga", role="VIEWER")["items"]
    assert (seen["columns"], seen["target"]) == (["v"], ["another secret"])
    (seen,) = api.get(path, **VERA)["items"]
    assert (seen["key"], seen["columns"]) == (["1"], ["v"])
    assert (seen["source"], seen["target"]) == (None, None)


@pytest.mark.parametrize("many", [20_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_many_batches(api: Served, state: StateDatabase, many: int) -> None:
    """Pages of them do not read the others; what reads all of them says so by its time."""
    ledger = planned(Runs(state), 1)
    with state.write() as connection:
        (row,) = connection.execute(BATCHES.select()).mappings()
        for first in range(2, many + 1, 10_000):
            last = min(many, first + 9_999)
            rows = [{**row, "number": number} for number in range(first, last + 1)]
            connection.execute(insert(BATCHES), rows)

    def took(path: str) -> float:
        started = time.process_time()
        api.get(f"/runs/{ledger.run}{path}")
        return time.process_time() - started

    page = f"{JOBS}/batches?limit=500"
    took(page)
    beginning, end = took(page), took(f"{page}&offset={many - 500}")
    assert end < 10 * beginning + 0.5
    assert took("") < 10
    assert took(f"{JOBS}/strip") < 10
    strip = api.get(f"/runs/{ledger.run}{JOBS}/strip")
    assert sum(sum(one["states"].values()) for one in strip["cells"]) == many
    assert (len(strip["cells"]), strip["batches"]) == (200, many)


def test_all_of_a_job_at_once(api: Served, state: StateDatabase) -> None:
    ledger = planned(Runs(state), 3)
    copy_all(ledger)
    check_all(ledger)
    purge_all(ledger)
    (job,) = api.get(f"/runs/{ledger.run}")["jobs"]
    assert (job["source_data"], job["rows_purged"]) == ("processed", 3 * ROWS)
