"""The whole product in a real Airflow: tasks in processes of their own, cut off from its database.

What `dag.test()` cannot show: the isolation of tasks, callbacks in the DAG processor, import
errors as people see them, and the form of the purge DAG.
"""

from __future__ import annotations

import json
import re
import time
from email.message import EmailMessage
from urllib.parse import unquote

import httpx
import pytest
from playwright.sync_api import expect

from dsp_airflow.demo.standalone import USER, AirflowStandalone, processes_of
from dsp_airflow.standing import standing
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.state.records import Run
from tests.e2e.conftest import RUN_SECONDS, World, logged
from tests.web.browser import Visitors, chromium

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

MAIL_SECONDS = 120.0
NO_SECOND_MAIL_SECONDS = 12.0
"""Longer than a late callback waits for the next reading of its file."""


def test_a_task_cannot_reach_the_metadata_database(world: World) -> None:
    """Else the tests below would prove nothing about it."""
    assert world.run("probe") == "success", world.logs("probe")


def test_rows_are_copied_checked_and_purged_and_a_mail_says_so(world: World) -> None:
    before = world.source.rows("SELECT * FROM orders WHERE id <= 1000 ORDER BY id")

    assert world.run("archive") == "success", world.logs("archive")

    assert world.target.rows("SELECT * FROM orders ORDER BY id") == before
    assert world.source.value("SELECT min(id) FROM orders") == 1001
    assert world.source.value("SELECT count(*) FROM orders") == 1500
    run = world.runs.latest("archive")
    assert run is not None
    assert (run.state, run.triggered_by) == ("succeeded", "admin")
    (job,) = world.runs.summary(run.id).jobs
    assert (job.rows_total, job.rows_written, job.rows_checked) == (1000, 1000, 1000)
    assert (job.rows_different, job.rows_purged, job.rows_kept) == (0, 1000, 0)
    assert (job.batches, job.batches_purged) == (5, 5)
    (mail,) = _mails(world, "Old orders")
    assert mail["To"] == "oncall@example.com"
    assert mail["Subject"] == "[dsp] OK: Old orders"
    text = mail.get_content()
    assert run.id in text
    assert "1,000" in text
    assert f"{world.airflow.url}/dags/archive/runs/first" in text


def test_who_waits_for_the_target_begins_when_it_is_proved(world: World) -> None:
    """The archive's target is an asset; the event comes with the check, not with the copy."""
    assert world.api.wait_for(
        lambda: (
            [r["state"] for r in world.api.get("/dags/after_archive/dagRuns")["dag_runs"]]
            == ["success"]
        ),
        MAIL_SECONDS,
    )
    run = world.runs.latest("archive")
    events = world.api.get("/assets/events", source_dag_id="archive")["asset_events"]
    assert run is not None
    assert [(e["uri"], e["source_task_id"], e["extra"]) for e in events] == [
        (
            "x-dsp://warehouse/public.orders",
            "orders.check",
            {"run": run.id, "job": "orders", "rows_written": 1000, "rows_checked": 1000},
        )
    ]


def test_metrics_went_through_airflows_own(world: World) -> None:
    """Of the archive's run: counters add up over the tries and processes of a step."""
    sent = world.metrics
    for name, step in (("copied", "copy"), ("checked", "check"), ("purged", "purge")):
        tags = {"task": "archive", "job": "orders", "step": step}
        assert sum(sent.values(f"airflow.dsp.rows_{name}", **tags)) == 1000
        assert sent.values("airflow.dsp.rows_per_second", **tags)[-1] > 0
        assert sent.values("airflow.dsp.oldest_unfinished_batch_seconds", **tags)[-1] == 0
    assert sent.values("airflow.dsp.rows_different", task="archive") == [0.0]
    assert sent.values("airflow.dsp.rows_kept", task="archive") == [0.0]


def test_the_report_of_a_run_is_linked_while_it_works(world: World) -> None:
    api = world.api
    api.wait_for_dag("held", 120)
    api.unpause("held")
    link = "/dags/held/dagRuns/first/taskInstances/estimate/links"
    with world.source.connect() as somebody:
        somebody.execute("BEGIN")
        somebody.execute("LOCK TABLE visits IN ACCESS EXCLUSIVE MODE")
        api.trigger("held", "first")
        assert api.wait_for(
            lambda: (
                any(t.task == "estimate" and t.state for t in api.task_instances("held", "first"))
                and bool(api.get(link)["extra_links"]["Run report"])
            ),
            120,
        )
        (estimate,) = [t for t in api.task_instances("held", "first") if t.task == "estimate"]
        url = api.get(link)["extra_links"]["Run report"]
        assert estimate.state == "running"
    run = world.runs.latest("held")
    assert run is not None
    assert url == f"{world.airflow.url}/dsp/dags/held/runs/{run.id}"
    assert api.wait_for_run("held", "first", RUN_SECONDS) == "success"
    page = api.page(url)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "succeeded" in page.text
    assert "<dd>50</dd>" in page.text
    assert "/dags/held/runs/first" in page.text
    _refuses_strangers(url)
    # A run belongs to its DAG: by another one, even one that may be read, it is not found.
    assert api.page(url.replace("/held/", "/archive/")).status_code == 404
    shown = api.get("/dags/held/dagRuns/first/taskInstances/visits.copy/links")["extra_links"]
    assert shown == {"Run report": url}


def _refuses_strangers(url: str) -> None:
    with httpx.Client(trust_env=False) as stranger:
        assert stranger.get(url).status_code == 401
        asked = stranger.get(url, headers={"Accept": "text/html"})
        assert asked.status_code == 303
        assert asked.headers["location"].startswith("/auth/login?next=")
        forged = stranger.get(url, headers={"Authorization": "Bearer nonsense"})
        assert forged.status_code in {401, 403}


def test_a_failure_sends_one_mail_that_names_task_job_and_error(world: World) -> None:
    assert world.run("missing") == "failed"

    (mail,) = _mails(world, "Nothing there")
    assert mail["X-RcptTo"] == "oncall@example.com, boss@example.com"
    assert mail["Subject"] == "[dsp] FAILED: Nothing there"
    text = mail.get_content()
    assert "missing" in text
    assert "ghosts" in text
    assert "public.ghosts" in text[text.index("WHAT HAPPENED") : text.index("WHAT TO DO")]
    assert f"{world.airflow.url}/dags/missing/runs/first" in text


def test_the_purge_dag_deletes_exactly_the_batches_of_its_form(world: World) -> None:
    assert world.run("by_hand") == "success", world.logs("by_hand")
    assert world.source.value("SELECT count(*) FROM events") == 500

    state = world.run("by_hand__purge", job="events", batches="2,4-5")

    assert state == "success", world.logs("by_hand__purge")
    left = world.source.rows(
        "SELECT (id - 1) / 100 + 1, count(*) FROM events GROUP BY 1 ORDER BY 1"
    )
    assert left == [(1, 100), (3, 100)]
    assert world.target.value("SELECT count(*) FROM events") == 500
    run = world.runs.latest("by_hand")
    assert run is not None
    purged = [b.number for b in world.runs.batches(run.id, "events") if b.purged_at]
    assert purged == [2, 4, 5]


def test_the_pages_stand_on_dags_and_runs_and_purge_by_batch(world: World) -> None:
    run = world.runs.latest("by_hand")
    assert run is not None
    with chromium() as browser:
        visitors = Visitors(browser, world.airflow.url, {USER: world.airflow.password})
        with visitors.page(USER) as page:
            page.goto("/dags/archive")
            page.get_by_role("link", name="DSP runs").click()
            expect(page.get_by_role("row", name=re.compile("Old orders"))).to_contain_text(
                "1,000 purged, 0 kept"
            )
            page.goto("/dags/archive/runs/first")
            page.get_by_role("link", name="DSP run", exact=True).click()
            expect(page.get_by_role("table", name="Jobs")).to_contain_text("1,000 / 1,000")
            page.goto(f"/plugin/dsp/runs/{run.id}/jobs/events")
            page.get_by_role("button", name="Purge source by batch").click()
            dialog = page.get_by_role("alertdialog", name="Purge the source of events?")
            dialog.get_by_label("Batches, such as").fill("6")
            expect(dialog).to_contain_text("6 is no batch, or range of batches, from 1 to 5.")
            expect(dialog.get_by_role("button", name="Purge source by batch")).to_be_disabled()
            dialog.get_by_label("Batches, such as").fill("1")
            expect(dialog).to_contain_text("The rows of 1 of its batches are deleted from shop")
            dialog.get_by_role("button", name="Purge source by batch").click()
            begun = page.get_by_role("link", name="by_hand__purge").get_attribute("href")
    assert begun is not None
    purge = unquote(begun.rpartition("/")[2])
    assert world.api.wait_for_run("by_hand__purge", purge, RUN_SECONDS) == "success"
    assert world.source.value("SELECT count(*) FROM events WHERE id <= 100") == 0
    assert world.source.value("SELECT count(*) FROM events") == 100


def test_a_broken_file_is_one_import_error_with_its_line(world: World) -> None:
    deadline = time.monotonic() + 120
    while not (found := world.api.import_failures()) and time.monotonic() < deadline:
        time.sleep(1)

    (failure,) = found
    assert failure.filename.endswith("tasks/broken.yaml")
    assert "broken.yaml:5:" in failure.text
    assert "tabel" in failure.text
    # Its neighbours are there all the same.
    assert all(world.api.has_dag(dag) for dag in ("archive", "missing", "by_hand"))
    assert not world.api.has_dag("broken")


def test_a_task_holds_no_worker_while_its_window_is_closed(world: World) -> None:
    world.api.wait_for_dag("nightly", 120)
    world.api.unpause("nightly")
    run = _deferred(world, "first")

    pool = world.api.get("/pools/default_pool")
    assert (pool["running_slots"], pool["deferred_slots"]) == (0, 2)
    [note] = standing(world.runs, run)
    assert str(note).startswith("nights: waiting for the window until ")
    assert world.target.value("SELECT count(*) FROM nights") == 0

    LimitChanges(world.runs.database, run.id).set(None, {"window": None}, "ann")
    assert world.api.wait_for_run("nightly", "first", RUN_SECONDS) == "success"
    assert world.target.value("SELECT count(*) FROM nights") == 50
    assert _tries(world, "first") == [1, 1]
    assert world.runs.get(run.id).attempt == 1


def test_a_waiting_run_is_ended_by_hand_and_goes_on_when_it_is_cleared(world: World) -> None:
    run = _deferred(world, "second")
    assert world.runs.request_stop(run.id, "ann", "not tonight")
    assert world.api.wait_for_run("nightly", "second", RUN_SECONDS) == "failed"

    ended = world.runs.get(run.id)
    assert (ended.state, ended.stop) == ("terminated", "ann asked it to stop: not tonight")
    assert _tries(world, "second") == [1, 1]
    (mail,) = _mails(world, "Every night")
    assert mail["Subject"] == "[dsp] TERMINATED (by ann): Every night"

    world.api.clear("nightly", "second")
    LimitChanges(world.runs.database, run.id).set(None, {"window": None}, "ann")
    assert world.api.wait_for_run("nightly", "second", RUN_SECONDS) == "success"
    again = world.runs.get(run.id)
    assert (again.state, again.attempt, again.stop) == ("succeeded", 2, None)


def _deferred(world: World, run: str) -> Run:
    """A run of which every shard waits for its window."""
    world.api.trigger("nightly", run)

    def states() -> list[str | None]:
        found = world.api.task_instances("nightly", run)
        return [t.state for t in found if t.task == "nights.copy"]

    assert world.api.wait_for(lambda: states() == ["deferred"] * 2, RUN_SECONDS), states()
    found = world.runs.latest("nightly")
    assert found is not None
    return found


def _tries(world: World, run: str) -> list[int]:
    found = world.api.task_instances("nightly", run)
    return [t.tries for t in found if t.task == "nights.copy"]


def test_a_one_off_whose_time_has_passed_runs_when_it_is_unpaused(world: World) -> None:
    api = world.api
    api.wait_for_dag("once", 120)
    assert api.get("/dags/once/dagRuns")["dag_runs"] == []

    api.unpause("once")

    def runs() -> list[tuple[str, str]]:
        found = api.get("/dags/once/dagRuns")["dag_runs"]
        return [(run["run_type"], run["state"]) for run in found]

    assert api.wait_for(lambda: runs() == [("scheduled", "success")], RUN_SECONDS), runs()
    assert api.get("/dags/once/dagRuns")["dag_runs"][0]["run_after"] == "2020-03-28T19:30:00Z"
    assert api.get("/dags/once")["next_dagrun_run_after"] is None


def test_a_task_is_switched_off_and_on_and_run_by_the_command(world: World) -> None:
    """Airflow's pause follows; whoever takes it back in the UI gets no run all the same."""
    api = world.api
    assert "DAG once is paused in Airflow" in world.dsp("task", "disable", "once")
    assert api.get("/dags/once")["is_paused"] is True
    api.unpause("once")
    assert world.run("once", "by_hand") == "failed"
    # The first of its steps asks.
    logged(world.airflow, ("once", "by_hand", "estimate"), "task once is disabled by")
    assert len(world.runs.recent("once")) == 1
    tasks = json.loads(world.dsp("task", "list", "--json"))["tasks"]
    (once,) = [task for task in tasks if task["name"] == "once"]
    assert (once["state"], once["paused"], once["next_at"]) == ("disabled", False, None)

    assert "DAG once is not paused in Airflow" in world.dsp("task", "enable", "once")
    told = world.dsp("task", "run", "once")
    run = told.split("DAG run ")[1].strip()
    assert api.wait_for_run("once", run, RUN_SECONDS) == "success"
    # One for each of the two runs that there were, and none for the one that was refused.
    subjects = [str(m["Subject"]) for m in world.mails_about("once")]
    assert api.wait_for(lambda: len(world.mails_about("once")) == 2, MAIL_SECONDS), subjects
    assert {str(m["Subject"]) for m in world.mails_about("once")} == {"[dsp] OK: once"}


def test_nothing_is_left_when_airflow_is_stopped_while_it_starts(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("stopped")
    for name in ("dags", "plugins"):
        (home / name).mkdir()
    airflow = AirflowStandalone(
        home,
        dags=home / "dags",
        plugins=home / "plugins",
        state_url=f"sqlite:///{home}/dsp.db",
        connections={},
    )
    airflow.start()
    time.sleep(3)
    assert airflow.processes()

    airflow.stop()

    assert processes_of(home) == []


def _mails(world: World, title: str) -> list[EmailMessage]:
    """The mails about a task, after a second one would have come too."""
    deadline = time.monotonic() + MAIL_SECONDS
    while not world.mails_about(title) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(NO_SECOND_MAIL_SECONDS)
    return world.mails_about(title)
