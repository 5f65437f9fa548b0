"""The pages in a real browser, inside Airflow's own, over real runs and requests."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from playwright.sync_api import Page, Route, expect

from dsp_airflow.approval.machine import State
from dsp_airflow.approval.people import Roles
from dsp_airflow.config.processes import Process
from dsp_airflow.marking import MARK_DELETED
from dsp_airflow.permissions.grants import Holder, Scope
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from dsp_airflow.state.repairs import Repairs
from dsp_airflow.state.rollbacks import Rollbacks
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches
from dsp_airflow.web import pages
from tests.servers import PostgresServer
from tests.web.browser import Visitors, chromium
from tests.web.pages_server import api_server
from tests.web.pages_world import HOSTILE, World, hostile_task, plain_request, world
from tests.web.scene import begun, differing, told_to_airflow

pytestmark = pytest.mark.timeout(300)
AXE = pages.BUNDLE.parents[1] / "ui" / "node_modules" / "axe-core" / "axe.min.js"
VIOLATIONS = """async theme => {
    const root = document.querySelector("nav[aria-label='Pages of DSP']").parentElement;
    // What is read aloud is the same in both themes; what is seen is not.
    const runOnly = theme === "dark" ? ["color-contrast"] : ["wcag2a", "wcag2aa", "wcag21aa"];
    const found = await axe.run(root, {runOnly, resultTypes: ["violations"]});
    return found.violations
        .filter(({impact}) => impact === "serious" || impact === "critical")
        .flatMap(({id, nodes}) => nodes.map(node => `${id}: ${node.html} ${node.failureSummary}`));
}"""
"""What axe-core finds on the page, in words."""
FOCUSED = """() => {
    const {activeElement: at} = document, style = getComputedStyle(at);
    // The button in a field for a date is the browser's own: it shows its focus itself.
    const own = !at.matches(":focus");
    const shown = own || style.outlineStyle !== "none" || style.boxShadow !== "none";
    return [at.getAttribute("aria-label") ?? at.labels?.[0]?.innerText ?? at.innerText, shown];
}"""
"""What has the focus, and whether that is seen."""


@dataclass
class Site:
    """An API server, what it shows, and a browser for it."""

    url: str
    world: World
    visitors: Visitors
    tasks: Path
    """The folder of task files."""
    failed: str
    """A run that Airflow began, under the key ``flights/manual__seen``."""

    def token(self, user: str) -> str:
        """Of somebody who logged in."""
        login = {"username": user, "password": user}
        return str(httpx.post(f"{self.url}/auth/token", json=login).json()["access_token"])

    def airflow(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Airflow's own API, asked by its administrator."""
        login = {"Authorization": f"Bearer {self.token('anna')}"}
        url = f"{self.url}/api/v2/{path}"
        return httpx.request(method, url, json=body, headers=login, timeout=60)

    def visit(self, user: str) -> AbstractContextManager[Page]:
        return self.visitors.page(user)


@pytest.fixture(scope="module")
def site(
    pg18: PostgresServer, airflow_db: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("world")
        made = stack.enter_context(world(pg18, folder))
        home = tmp_path_factory.mktemp("api-server")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(home / "dags"))
            flights = home / "dags" / "tasks" / "flights.yaml"
            flights.parent.mkdir(parents=True)
            flights.write_text(hostile_task())
            told_to_airflow(home / "dags")
        state = f"sqlite:///{folder}/state.db"
        settings = {
            "AIRFLOW__DSP__ALLOW_SAVE": "True",
            # The target is a connection that Airflow does not have.
            "AIRFLOW_CONN_SOURCE": made.bench.source.uri,
        }
        url = stack.enter_context(api_server(home, airflow_db, state, settings))
        visitors = Visitors(stack.enter_context(chromium()), url)
        site = Site(url, made, visitors, flights.parent, failed="")
        for dag in ("flights", "flights__purge", "flights__rollback", "flights__repair"):
            assert site.airflow("PATCH", f"dags/{dag}", {"is_paused": False}).is_success
        begins = {"logical_date": None, "dag_run_id": "manual__seen"}
        assert site.airflow("POST", "dags/flights/dagRuns", begins).is_success
        site.failed = begun(made.bench.state, flights, "flights/manual__seen")
        Runs(made.bench.state).finish(site.failed, "failed", f"no such table {HOSTILE}")
        yield site


def go(page: Page, path: str) -> None:
    """To another page without loading Airflow's anew, until it has what it shows."""
    page.evaluate(
        """path => {
            history.pushState({}, "", path);
            dispatchEvent(new PopStateEvent("popstate", {state: {}}));
        }""",
        f"/plugin/dsp{path}",
    )
    page.wait_for_load_state("networkidle")
    expect(page.get_by_role("main").last.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("main").last.get_by_role("status")).to_have_count(0)
    expect(page.get_by_role("main").last.get_by_role("alert")).to_have_count(0)


def test_the_bundle_is_for_who_is_logged_in(site: Site) -> None:
    apps = pages.react_apps()
    assert [one["name"] for one in apps] == ["DSP", "DSP runs", "DSP run", "DSP panel"]
    (address,) = {one["bundle_url"] for one in apps}
    url = f"{site.url}/{address}"
    assert httpx.get(url).status_code == 401
    login = {"Authorization": f"Bearer {site.token('vera')}"}
    found = httpx.get(url, headers=login)
    assert found.headers["content-type"].startswith("text/javascript")
    assert "immutable" in found.headers["cache-control"]
    assert "immutable" not in httpx.get(f"{url}0", headers=login).headers["cache-control"]
    # Every component that Airflow is told of is in it, and in what stands in where it is missing.
    for text in (found.text, pages.MISSING.read_text()):
        assert [
            one.name for one in pages.PLACES if f'"{one.name}"' not in text.replace("`", '"')
        ] == []


def test_from_airflows_side_bar_to_a_row_that_differs(site: Site) -> None:
    made = site.world
    with site.visit("anna") as page:
        page.goto("/")
        expect(page.get_by_role("heading", name="DSP: runs in progress")).to_be_visible()
        page.get_by_role("link", name="DSP", exact=True).click()
        expect(page).to_have_url(re.compile("/plugin/dsp$"))
        expect(page.get_by_role("img", name="From where to where")).to_contain_text("target")
        page.get_by_role("link", name="Monitoring", exact=True).click()
        expect(page).to_have_url(re.compile("/plugin/dsp/monitoring/warm/in_progress$"))
        row = page.get_by_role("row", name=re.compile("nightly"))
        expect(row).to_contain_text("12,345 / 12,345")
        expect(row.locator("time").first).to_have_attribute(
            "title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$")
        )
        row.get_by_role("button", name="Show the jobs of nightly").click()
        expect(page.get_by_role("table", name="Jobs")).to_contain_text("id > 0")

        page.get_by_role("link", name="Exception").click()
        row = page.get_by_role("row", name=re.compile("visits"))
        expect(row).to_contain_text("2 rows differ between source and target")
        expect(row).to_contain_text("Next step: Find out why rows differ before any purge.")
        row.get_by_role("link", name="visits").click()
        expect(page).to_have_url(re.compile(f"/plugin/dsp/runs/{made.failed}$"))
        page.get_by_role("table", name="Jobs").get_by_role("link", name="visits").click()
        page.get_by_role("button", name="Batch 9: different").click()
        batch = page.get_by_role("row", name=re.compile(r"▸ 9 different"))
        expect(batch).to_contain_text("> 400")
        page.get_by_role("link", name="Rows that differ or were kept").click()
        page.reload()
        differs = page.get_by_role("row", name=re.compile("changed 420"))
        expect(differs).to_contain_text(f"{HOSTILE}420")
        with page.expect_download() as report:
            page.get_by_role("button", name="Download report (CSV)").click()
        lines = list(csv.reader(report.value.path().read_text().splitlines()))
        assert [line[3:7] for line in lines[1:]] == [
            ["7", "page", f"{HOSTILE}7", HOSTILE],
            ["420", "page", f"{HOSTILE}420", HOSTILE],
        ]


def test_what_a_table_shows_is_in_its_address(site: Site) -> None:
    with site.visit("vera") as page:
        page.goto("/plugin/dsp/monitoring/warm/in_progress")
        page.get_by_role("button", name="Sort by name").click()
        expect(page).to_have_url(re.compile(r"sort=task&order=desc"))
        names = page.locator("tbody tr td:first-child a")
        expect(names).to_have_text(["old_events", "nightly"])
        page.get_by_role("button", name="Sort by name").click()
        expect(names).to_have_text(["nightly", "old_events"])
        expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Name")
        page.get_by_label("Name or run").fill("OLD_")
        expect(names).to_have_text(["old_events"])
        expect(page).to_have_url(re.compile(r"name=OLD_"))
        page.reload()
        expect(names).to_have_text(["old_events"])
        page.get_by_label("Name or run").fill("nowhere")
        expect(page.get_by_text("Nothing matches these filters.")).to_be_visible()
        page.get_by_role("button", name="Clear filters").click()
        expect(names).to_have_text(["nightly", "old_events"])
        page.get_by_role("link", name="S3", exact=True).click()
        expect(page.get_by_text("Nothing is running now.")).to_be_visible()
        # Of many, the server sends a page; the address says which.
        page.goto(f"/plugin/dsp/runs/{site.world.succeeded}/jobs/orders")
        expect(page.get_by_text(re.compile(r"^1.25 of 26$"))).to_be_visible()
        page.get_by_role("button", name="Next page").click()
        expect(page.get_by_text(re.compile(r"^26.26 of 26$"))).to_be_visible()
        expect(page).to_have_url(re.compile("offset=25"))


def test_names_and_keys_are_text(site: Site) -> None:
    """On every page: were one of them ever markup, its script would ask, and fail the test."""
    made = site.world
    Grants(made.bench.state).add(Holder(HOSTILE), Scope(HOSTILE, HOSTILE), ["read"], "anna")
    process = {"name": "Hostile", "task_type": "s3", "remarks": HOSTILE}
    made.requests.processes.create(Process.model_validate(process), "anna")
    with site.visit("anna") as page:
        for path, text in (
            ("monitoring/warm/completed", f"Old orders {HOSTILE}"),
            (f"runs/{made.succeeded}", f"Old orders {HOSTILE}"),
            (f"runs/{made.succeeded}", "2,501 purged, 0 kept"),
            (f"runs/{made.failed}/jobs/visits/differences", HOSTILE),
            ("monitoring/warm/exception", f"no such table {HOSTILE}"),
            (f"runs/{site.failed}", f"no such table {HOSTILE}"),
            (f"runs/{site.failed}/jobs/one", f"to {HOSTILE}: public.{HOSTILE}"),
            (f"requests/{made.waiting}", f"Old events {HOSTILE}"),
            ("approvals/all", f"Old events {HOSTILE}"),
            ("scheduling?name=flights", f"Flights {HOSTILE}"),
            ("tasks?name=flights", f"Flights {HOSTILE}"),
            ("tasks/flights", f"What for {HOSTILE}"),
            ("tasks/flights/plan", "Preview the plan"),
            ("tasks/flights/definitions", "First run"),
            ("permissions", HOSTILE),
            ("connections", f"to {HOSTILE}"),
            ("reports/jobs", "Rows copied"),
            ("", "From where to where"),
        ):
            page.goto(f"/plugin/dsp/{path}")
            expect(page.get_by_text(text).first).to_be_visible()
            assert page.locator("main img").count() == 0, path
        page.goto("/plugin/dsp/processes?name=Hostile")
        page.get_by_role("button", name="Hostile", exact=True).click()
        expect(page.get_by_text(HOSTILE).first).to_be_visible()
        page.goto("/dags/flights/plugin/dsp-runs")
        expect(page.get_by_role("link", name=f"Flights {HOSTILE}").first).to_be_visible()
        assert page.locator("img[src=x]").count() == 0


def test_who_may_steer_terminates(site: Site) -> None:
    run = site.world.running
    path = f"/plugin/dsp/runs/{run}"
    with site.visit("vera") as page:
        page.goto(path)
        expect(page.get_by_role("heading", name="nightly")).to_be_visible()
        expect(page.get_by_role("button", name="Terminate")).to_have_count(0)
    with site.visit("bert") as page:
        page.goto(path)
        page.get_by_role("button", name="Terminate").click()
        dialog = page.get_by_role("alertdialog", name="Terminate nightly?")
        expect(dialog).to_contain_text(f"Run {run} stops at the edge of the batches in work")
        dialog.get_by_role("button", name="Go back").click()
        expect(dialog).to_have_count(0)
        assert not Runs(site.world.bench.state).get(run).stop_requested
        page.get_by_role("button", name="Terminate").click()
        dialog.get_by_label("Reason").fill("the disk is full")
        dialog.get_by_role("button", name="Terminate").click()
        expect(dialog).to_have_count(0)
        expect(page.get_by_role("button", name="Terminate")).to_have_count(0)
    found = Runs(site.world.bench.state).get(run)
    assert (found.stop_requested_by, found.stop_reason) == ("bert", "the disk is full")


def test_a_request_from_the_inbox_to_its_execution(site: Site) -> None:
    requests, request = site.world.requests, site.world.waiting
    with site.visit("anna") as page:
        page.goto("/plugin/dsp/approvals")
        page.get_by_role("link", name=f"Old events {HOSTILE}").click()
        expect(page.get_by_text("ends in 47 hours")).to_be_visible()
        expect(page.get_by_text("may decide: anna, olga")).to_be_visible()
        expect(page.get_by_text("up to 12,345 rows of public.events")).to_be_visible()
        expect(page.get_by_text('+  "where": "what <> ').first).to_be_visible()
        expect(page.get_by_text('DELETE FROM "public"."events"')).to_be_visible()
        page.get_by_role("button", name="Approve").click()
        dialog = page.get_by_role("alertdialog")
        expect(dialog).to_contain_text("delete, insert, update; 12,345 rows, 964.5 KiB")
        dialog.get_by_label("Comment").fill("go on")
        dialog.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("by anna")).to_be_visible()
        expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    with site.visit("bert") as page:
        page.goto(f"/plugin/dsp/requests/{request}")
        page.get_by_role("button", name="Reject").click()
        dialog = page.get_by_role("alertdialog")
        # A no has to say why.
        expect(dialog.get_by_role("button", name="Reject")).to_be_disabled()
        dialog.get_by_role("button", name="Go back").click()
        page.get_by_role("button", name="Approve").click()
        # Somebody else changes it while the question stands.
        seen = requests.get(request).version
        requests.decide(request, "bert", "from elsewhere", approved=True, seen=seen)
        dialog.get_by_role("button", name="Approve").click()
        expect(dialog.get_by_role("alert")).to_contain_text("This was not done")
        dialog.get_by_role("button", name="Go back").click()
        expect(page.get_by_text("approved, not started").first).to_be_visible()
    with site.visit("vera") as page:
        page.goto("/plugin/dsp/approvals/mine?state=WAIT_FOR_EXECUTION")
        page.get_by_role("link", name=f"Old events {HOSTILE}").click()
        page.get_by_role("button", name="Execute now").click()
        page.get_by_role("alertdialog").get_by_role("button", name="Execute now").click()
        expect(page.locator("[data-clock=runs]")).to_contain_text("Execution, at most 12 h")
    done = requests.get(request)
    assert done.state == State.EXECUTING
    assert [(one.actor, one.comment) for one in done.decisions] == [
        ("anna", "go on"),
        ("bert", "from elsewhere"),
    ]


def test_a_request_is_rejected_and_one_taken_back(site: Site) -> None:
    requests = site.world.requests
    first, second = (plain_request(requests, key) for key in ("to_reject", "to_cancel"))
    with site.visit("anna") as page:
        page.goto(f"/plugin/dsp/requests/{first}")
        page.get_by_role("button", name="Reject").click()
        dialog = page.get_by_role("alertdialog", name=f"Reject Asked for to_reject {HOSTILE}?")
        expect(dialog).to_contain_text("nothing is written or deleted")
        dialog.get_by_label("Comment").fill(f"not now {HOSTILE}")
        dialog.get_by_role("button", name="Reject").click()
        expect(page.get_by_text(f"not now {HOSTILE}").first).to_be_visible()
        for name in ("Reject", "Approve", "Cancel request"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
    with site.visit("vera") as page:
        page.goto(f"/plugin/dsp/requests/{second}")
        page.get_by_role("button", name="Cancel request").click()
        dialog = page.get_by_role("alertdialog")
        dialog.get_by_label("Reason").fill("asked by mistake")
        dialog.get_by_role("button", name="Cancel request").click()
        expect(page.get_by_text("cancelled").first).to_be_visible()
        expect(page.get_by_role("button", name="Cancel request")).to_have_count(0)
    states = [requests.get(one).state for one in (first, second)]
    assert states == [State.REJECTED, State.CANCELLED]


def test_a_run_of_airflow_is_tried_again_and_purged_by_hand(site: Site) -> None:
    step = "dags/flights/dagRuns/manual__seen/taskInstances/estimate"
    assert site.airflow("PATCH", step, {"new_state": "failed"}).is_success
    with site.visit("bert") as page:
        page.goto(f"/plugin/dsp/runs/{site.failed}")
        page.get_by_role("button", name="Retry").click()
        dialog = page.get_by_role("alertdialog", name=f"Retry Flights {HOSTILE}?")
        expect(dialog).to_contain_text("Batches that are recorded as done are not done again.")
        dialog.get_by_role("button", name="Retry").click()
        expect(dialog).to_have_count(0)
        assert site.airflow("GET", step).json()["state"] is None
        page.get_by_role("link", name="copy", exact=True).click()
        expect(page).to_have_url(re.compile(r"/dags/flights/runs/manual__seen/tasks/one\.copy$"))
        expect(page.get_by_text("one.copy").first).to_be_visible()

        page.goto(f"/plugin/dsp/runs/{site.failed}/jobs/one")
        page.get_by_role("button", name="Purge source by batch").click()
        dialog = page.get_by_role("alertdialog")
        purge = dialog.get_by_role("button", name="Purge source by batch")
        expect(purge).to_be_disabled()
        dialog.get_by_role("button", name=re.compile("^Batch 2: ")).click()
        dialog.get_by_role("button", name=re.compile("^Batch 3: ")).click()
        dialog.get_by_role("button", name=re.compile("^Batch 1: ")).click()
        dialog.get_by_role("button", name=re.compile("^Batch 3: ")).click()
        expect(dialog.get_by_label("Batches, such as")).to_have_value("1-2")
        expect(dialog).to_contain_text("The rows of 2 of its batches are deleted from")
        purge.click()
        expect(page.get_by_text("It runs in Airflow now:")).to_be_visible()
        page.get_by_role("button", name="Mark as deleted").click()
        dialog.get_by_role("button", name="All", exact=True).click()
        expect(dialog).to_contain_text("Nothing is deleted. 3 of its batches are looked for")
        dialog.get_by_role("button", name="Mark as deleted").click()
        expect(dialog).to_have_count(0)
    found = site.airflow("GET", "dags/flights__purge/dagRuns").json()["dag_runs"]
    # Other tests may have purged another run by then.
    begun_runs = [one for one in found if one["conf"]["run"] == site.failed]
    about = {"job": "one", "run": site.failed}
    assert [one["conf"] for one in begun_runs] == [
        {**about, "batches": "1-2"},
        {**about, "batches": "all", "act": MARK_DELETED},
    ]
    assert {one["triggering_user_name"] for one in begun_runs} == {"bert"}


def test_a_viewer_sees_no_action_and_the_api_refuses_each(site: Site) -> None:
    run, jobs = f"runs/{site.failed}", f"runs/{site.failed}/jobs/one"
    actions = [
        *("Retry", "Terminate", "Purge source", "Mark as deleted", "Execute", "Disable"),
        *("Repair", "Re-execute", "Roll back", "Accept"),
    ]
    with site.visit("vera") as page:
        for path, seen in ((run, "Logs in Airflow"), (jobs, "Batches"), ("tasks/flights", "Plan")):
            page.goto(f"/plugin/dsp/{path}")
            expect(page.get_by_text(seen).first).to_be_visible()
            for name in actions:
                expect(page.get_by_role("button", name=name)).to_have_count(0)
    login = {"Authorization": f"Bearer {site.token('vera')}"}
    for path, body in (
        (f"{run}/retry", {}),
        (f"{run}/terminate", {}),
        (f"{run}/rollback", {"again": True}),
        ("tasks/nightly/drift/accept", {"job": "events", "digest": "d"}),
        (f"{jobs}/purge", {"batches": "all"}),
        (f"{jobs}/mark-deleted", {"batches": "all"}),
        ("tasks/flights/run", {}),
        ("tasks/flights/disable", {}),
        ("task-files", {"text": "name: a"}),
    ):
        url = f"{site.url}/dsp/api/v1/{path}"
        assert httpx.post(url, json=body, headers=login, timeout=60).status_code == 403, path


def test_what_goes_wrong_is_said_with_what_to_do(site: Site) -> None:
    # Of this user alone, as the login is lost in the end.
    with site.visit("otto") as page:
        page.goto("/plugin/dsp/runs/nowhere")
        expect(page.get_by_text("there is no run nowhere that you may see")).to_be_visible()
        page.goto("/plugin/dsp/monitoring/warm/exception")
        expect(page.get_by_role("link", name="visits")).to_be_visible()
        # The server goes away: what was seen stays, with its time; and it comes back by itself.
        page.route("**/dsp/api/**", lambda route: route.abort())
        expect(page.get_by_text("The API server does not answer.")).to_be_visible()
        expect(page.get_by_text("What you see is as of")).to_be_visible()
        expect(page.get_by_role("link", name="visits")).to_be_visible()
        page.unroute("**/dsp/api/**")
        expect(page.get_by_text("The API server does not answer.")).to_have_count(0)
        page.context.clear_cookies()
        expect(page.get_by_text("Your session has expired.")).to_be_visible()
        login = page.get_by_role("link", name="Log in again").get_attribute("href")
        assert login is not None
        assert login.startswith(f"{site.url}/api/v2/auth/login?next=")


def test_a_hidden_tab_asks_nothing(site: Site) -> None:
    asked: list[str] = []

    def watch(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_()

    def hide(page: Page, hidden: bool) -> None:
        page.evaluate(
            """hidden => {
                Object.defineProperty(document, "hidden", {configurable: true, value: hidden});
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    with site.visit("vera") as page:
        page.route("**/dsp/api/v1/runs?*", watch)
        page.goto("/plugin/dsp/monitoring/warm/in_progress")
        expect(page.get_by_text(re.compile(r"^1.\d of \d$"))).to_be_visible()
        for _ in range(2):
            with page.expect_request("**/dsp/api/v1/runs?*"):
                pass
        hide(page, True)
        page.wait_for_timeout(300)
        before = len(asked)
        page.wait_for_timeout(4_500)
        assert len(asked) == before
        hide(page, False)
        page.wait_for_timeout(1_000)
        assert len(asked) > before


def test_a_task_is_switched_off_and_its_problems_are_told(site: Site) -> None:
    with site.visit("bert") as page:
        page.goto("/plugin/dsp/scheduling")
        nightly = page.get_by_role("row", name=re.compile("nightly"))
        expect(nightly).to_contain_text("Monday to Friday at 02:30")
        page.get_by_role("button", name="Show broken").click()
        expect(page.get_by_text(re.compile(r"broken\.yaml:6:")).first).to_be_visible()
        page.get_by_role("button", name="Hide broken").click()
        page.get_by_role("button", name="Show nightly").click()
        page.get_by_role("button", name="Disable").click()
        dialog = page.get_by_role("alertdialog", name="Disable nightly?")
        expect(dialog).to_contain_text("No new run of it begins")
        dialog.get_by_label("Reason").fill("holidays")
        dialog.get_by_role("button", name="Disable").click()
        expect(page.get_by_text("Set to disabled by bert")).to_contain_text("holidays")
    switch = Switches(site.world.bench.state).of("nightly")
    assert switch is not None
    assert (switch.state, switch.changed_by) == ("disabled", "bert")


def test_a_task_with_its_file_and_its_past(site: Site) -> None:
    with site.visit("vera") as page:
        page.goto("/plugin/dsp/tasks?broken=true")
        row = page.get_by_role("row", name=re.compile("broken"))
        expect(row).to_contain_text(re.compile(r"broken\.yaml:6:\d+.*Did you mean table\?"))
        expect(page.get_by_role("row", name=re.compile("nightly"))).to_have_count(0)
        row.get_by_role("link", name="broken").click()
        expect(page.get_by_text("No run of it begins until that is mended.")).to_be_visible()
        marked = page.get_by_role("region", name="Task file").locator("[data-marked]")
        expect(marked).to_have_text([re.compile("^6.*tabel: public.events")])
        # A viewer sees no button for what it may not do.
        expect(page.get_by_role("button", name="Execute now")).to_have_count(0)
        expect(page.get_by_role("button", name="Disable")).to_have_count(0)
        page.goto("/plugin/dsp/tasks/nightly/definitions")
        page.get_by_role("button", name="Show what changed").click()
        expect(page.get_by_text("It is the first one that ran.")).to_be_visible()
        expect(page.get_by_role("link", name=site.world.running)).to_be_visible()
        page.get_by_role("link", name="Plan", exact=True).click()
        expect(page.get_by_text("it is for its owner bert")).to_be_visible()
        page.goto("/plugin/dsp/tasks/old_events/approvals")
        expect(page.get_by_role("link", name=site.world.waiting)).to_be_visible()
    with site.visit("bert") as page:
        page.goto("/plugin/dsp/tasks/nightly/plan")
        page.get_by_role("button", name="Preview the plan").click()
        # This server knows no connection of the target: what hinders the plan is told, of the job.
        told = page.locator("section", has_text="events").last
        expect(told).to_contain_text("there is no Airflow connection 'target'")


def test_a_new_task_is_written_judged_and_saved(site: Site) -> None:
    with site.visit("anna") as page:
        page.goto("/plugin/dsp/tasks")
        page.get_by_role("link", name="New task").click()
        file = page.get_by_role("region", name="The file so far")
        said = page.get_by_role("region", name="What is wrong with it")
        expect(said).to_contain_text("the key name is missing")
        save = page.get_by_role("button", name="Save")
        expect(save).to_be_disabled()
        page.get_by_label("name (required)").fill("new_events")
        page.get_by_label("display_name").fill(f"New {HOSTILE}")
        expect(file).to_contain_text(f"display_name: New {HOSTILE}")
        page.get_by_role("button", name="2. Source").click()
        page.get_by_label("name (required)").fill("events")
        page.get_by_label("connection (required)").fill("source")
        page.get_by_label("table (required)").fill("public.events")
        page.get_by_role("button", name="3. Target").click()
        page.get_by_label("connection (required)").fill("target")
        expect(said).to_contain_text("Nothing is wrong with it")
        page.get_by_role("button", name="6. Check and purge").click()
        page.get_by_label("purge").select_option("system")
        check = page.get_by_role("group", name="check")
        check.get_by_label("What it says").select_option("none")
        expect(said).to_contain_text("new task:")
        expect(file.locator("[data-marked]").first).to_be_visible()
        check.get_by_label("What it says").select_option("percent, seed")
        check.get_by_label("percent").fill("100")
        expect(said).to_contain_text("Nothing is wrong with it")
        page.get_by_role("button", name="5. Mode and filter").click()
        page.get_by_label("where").fill(f"what <> '{HOSTILE}' AND id < :most")
        page.get_by_role("button", name="Add to variables").click()
        page.get_by_label("Name", exact=True).fill("most")
        page.get_by_label("Value", exact=True).fill("100")
        page.get_by_role("button", name="Add a job").click()
        expect(said).to_contain_text("the key source is missing")
        page.get_by_role("button", name="Remove this job").click()
        # What was filled in is there still.
        expect(page.get_by_label("where")).to_have_value(re.compile("id < :most"))
        page.get_by_role("button", name="9. Reminders and approval").click()
        expect(page.get_by_label("approval")).to_contain_text("Two")
        expect(said).to_contain_text("Nothing is wrong with it")
        with page.expect_download() as downloaded:
            page.get_by_role("button", name="Download").click()
        assert downloaded.value.suggested_filename == "new_events.yaml"
        save.click()
        dialog = page.get_by_role("alertdialog", name="Save task new_events?")
        dialog.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name=f"New {HOSTILE}")).to_be_visible()
        expect(page).to_have_url(re.compile("/plugin/dsp/tasks/new_events$"))
        text = (site.tasks / "new_events.yaml").read_text()
        assert downloaded.value.path().read_text() == text
    assert yaml.safe_load(text) == {
        "name": "new_events",
        "display_name": f"New {HOSTILE}",
        "owner": "anna",
        "jobs": [
            {
                "name": "events",
                "type": "warm",
                "source": {"connection": "source", "table": "public.events"},
                "target": {"connection": "target"},
                "where": f"what <> '{HOSTILE}' AND id < :most",
                "variables": {"most": 100},
                "check": {"percent": 100},
                "purge": "system",
            }
        ],
    }
    with site.visit("vera") as page:
        page.goto("/plugin/dsp/new-task")
        expect(page.get_by_role("button", name="Download")).to_be_visible()
        expect(page.get_by_role("button", name="Save")).to_have_count(0)


def test_a_process_is_made_edited_ordered_and_deleted(site: Site) -> None:
    processes = site.world.requests.processes
    with site.visit("anna") as page:
        page.goto("/plugin/dsp/processes")
        page.get_by_role("link", name="New process").click()
        expect(page.get_by_role("heading", name="New process")).to_be_visible()
        page.get_by_label("Name", exact=True).fill("First")
        page.get_by_label("Rows, at most").fill("1000")
        page.get_by_role("button", name="Add a node").click()
        page.get_by_label("Decides").last.select_option("user")
        page.get_by_label("user", exact=True).fill("bert")
        page.get_by_role("button", name="Next").click()
        page.get_by_label("all connections").uncheck()
        page.get_by_label("Names, with commas").fill("source, target")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("row", name=re.compile("First"))).to_contain_text("source, target")
        made = processes.get("First").process
        assert [node.label for node in made.levels[0].nodes] == [
            "role administrators",
            "user bert",
        ]
        assert made.levels[0].max_rows == 1000
        # What is wrong is told as of a file, and nothing typed is lost.
        page.get_by_role("button", name="First").click()
        page.get_by_role("link", name="Edit").click()
        expect(page.get_by_role("heading", name="Edit First")).to_be_visible()
        page.get_by_label("Rows, at most").fill("many")
        page.get_by_role("button", name="Next").click()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("max_rows")
        page.get_by_role("button", name="Back", exact=True).click()
        expect(page.get_by_label("Rows, at most")).to_have_value("many")

        page.goto("/plugin/dsp/processes?type=warm")
        page.get_by_role("button", name="Set priority").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Move Two up").click()
        dialog.get_by_role("button", name="Save").click()
        expect(page.locator("tbody tr td:nth-child(2)")).to_have_text(["Two", "First"])
        page.get_by_label("Choose First").check()
        page.get_by_role("button", name="Delete", exact=True).click()
        dialog = page.get_by_role("alertdialog", name="Delete 1 process?")
        dialog.get_by_role("button", name="Delete").click()
        expect(page.locator("tbody tr td:nth-child(2)")).to_have_text(["Two"])
    with site.visit("vera") as page:
        page.goto("/plugin/dsp/processes")
        expect(page.get_by_text("vera may not see or change approval processes")).to_be_visible()


def test_grants_are_given_seen_applied_for_and_revoked(site: Site) -> None:
    grants = site.world.grants
    with site.visit("anna") as page:
        page.goto("/plugin/dsp/permissions")
        # Names are text, whatever they hold.
        expect(page.get_by_role("row", name=re.compile("onerror")).first).to_contain_text(HOSTILE)
        page.get_by_role("button", name="Give a grant").click()
        dialog = page.get_by_role("alertdialog", name="Give a grant?")
        expect(dialog.get_by_role("button", name="Give a grant")).to_be_disabled()
        dialog.get_by_label("Name").fill("vera")
        dialog.get_by_label("Connection").fill("source")
        dialog.get_by_label("Table, collection").fill("orders")
        expect(dialog).to_contain_text("A table or prefix needs its schema")
        dialog.get_by_label("Schema, database").fill("public")
        dialog.get_by_label("Purge").check()
        dialog.get_by_label("Until the end of").fill("2099-12-31")
        expect(dialog).to_contain_text(
            "vera may read, purge on source / public / orders, until the end of 2099-12-31."
        )
        dialog.get_by_role("button", name="Give a grant").click()
        expect(dialog).to_have_count(0)
        page.get_by_role("navigation", name="Users and roles").get_by_text("vera").click()
        expect(page).to_have_url(re.compile(r"permissions\?user=vera$"))
        row = page.get_by_role("row", name=re.compile("orders"))
        expect(row.get_by_role("img", name="yes")).to_have_count(2)
        (given,) = grants.all(holder="vera")
        assert given.until is not None
        assert (sorted(given.privileges), given.until.year) == (["purge", "read"], 2100)
    with site.visit("vera") as page:
        page.goto("/plugin/dsp/permissions")
        row = page.get_by_role("row", name=re.compile("orders"))
        expect(row).to_contain_text("vera")
        # Of others nothing is seen, and there is nothing to press that would be refused.
        expect(page.locator("tbody tr")).to_have_count(1)
        for name in ("Give a grant", "Revoke vera's grant on source / public / orders"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
        expect(page.get_by_role("link", name="History")).to_have_count(0)
        page.get_by_role("button", name="Apply for a grant").click()
        dialog = page.get_by_role("alertdialog", name="Apply for a grant?")
        dialog.get_by_label("Connection").fill("target")
        expect(dialog).to_contain_text("You ask to be allowed to read on target, until revoked.")
        dialog.get_by_label("Why").fill("month's end")
        dialog.get_by_role("button", name="Apply for a grant").click()
        page.get_by_role("link", name=re.compile("vera applies to read")).click()
        expect(page.get_by_role("heading", name=re.compile("vera applies to read"))).to_be_visible()
    with site.visit("bert") as page:
        # Who administers a connection gives and revokes there, and nowhere else.
        grants.add(Holder("otto"), Scope("target"), ["read"], "anna")
        page.goto("/plugin/dsp/permissions")
        revoke = page.get_by_role("button", name="Revoke otto's grant on target")
        expect(page.get_by_role("button", name="Give a grant")).to_be_visible()
        expect(page.get_by_text("public", exact=True)).to_have_count(0)
        revoke.click()
        dialog = page.get_by_role("alertdialog", name="Revoke what otto has on target?")
        expect(dialog).to_contain_text("otto may no longer read on target by this grant.")
        dialog.get_by_role("button", name="Revoke").click()
        expect(revoke).to_have_count(0)
    assert grants.all(holder="otto") == []
    with site.visit("anna") as page:
        page.goto("/plugin/dsp/permissions/history?user=otto")
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text("took back from otto: read on target")
        expect(rows.first).to_contain_text("bert")


def test_a_role_is_made_changed_and_deleted(site: Site) -> None:
    roles = Roles(site.world.bench.state)
    with site.visit("anna") as page:
        page.goto("/plugin/dsp/permissions")
        page.get_by_role("button", name="New role").click()
        dialog = page.get_by_role("alertdialog", name="New role")
        dialog.get_by_label("Name of the role").fill("archivists")
        dialog.get_by_label("Member").fill("vera")
        dialog.get_by_role("button", name="New role").click()
        expect(page.get_by_role("heading", name="Role archivists")).to_be_visible()
        page.get_by_role("button", name="Add a member").click()
        dialog = page.get_by_role("alertdialog", name="Add a member to archivists?")
        dialog.get_by_label("Member").fill("otto")
        expect(dialog).to_contain_text("otto has all grants of archivists from then on")
        dialog.get_by_role("button", name="Add a member").click()
        page.get_by_role("button", name="Take the role from vera").click()
        dialog = page.get_by_role("alertdialog", name="Take the role archivists from vera?")
        expect(dialog).to_contain_text("vera loses all grants of archivists")
        dialog.get_by_role("button", name="Take it").click()
        expect(page.get_by_role("button", name="Take the role from vera")).to_have_count(0)
        assert roles.members("archivists") == {"otto"}
        site.world.grants.add(Holder("archivists", is_role=True), Scope("source"), ["read"], "anna")
        page.get_by_role("button", name="Delete role").click()
        dialog = page.get_by_role("alertdialog", name="Delete the role archivists?")
        expect(dialog).to_contain_text("Its members (otto) no longer have it, and its 1 grants")
        dialog.get_by_role("button", name="Delete role").click()
        expect(page).to_have_url(re.compile("/permissions$"))
        assert roles.members("archivists") == set()
        assert site.world.grants.all(holder="archivists") == []
        # A process asks for this one: without it nobody could decide there.
        page.goto("/plugin/dsp/permissions?role=owners")
        expect(page.get_by_text("asked by the processes Two")).to_be_visible()
        expect(page.get_by_role("button", name="Delete role")).to_have_count(0)


def test_a_connection_is_tested_by_who_may(site: Site) -> None:
    with site.visit("bert") as page:
        page.goto("/plugin/dsp/connections")
        source = page.get_by_role("row", name=re.compile("^source"))
        expect(source).to_contain_text("PostgreSQL")
        expect(source.get_by_role("link", name="nightly")).to_be_visible()
        # Airflow has no such connection: there is nothing to test.
        target = page.get_by_role("row", name=re.compile("^target"))
        expect(target).to_contain_text("not in Airflow")
        expect(page.get_by_role("button", name="Test target")).to_have_count(0)
        # Its page of connections is not for bert.
        expect(page.get_by_role("link", name=re.compile("in Airflow"))).to_have_count(0)
        page.get_by_role("button", name="Test source").click()
        expect(page.get_by_text("Testing: a few seconds")).to_be_visible()
        found = page.get_by_role("table", name="What the test of source found")
        expect(found.get_by_role("row", name=re.compile("reachable"))).to_contain_text("ok")
    with site.visit("vera") as page:
        page.goto("/plugin/dsp/connections?used=source")
        expect(page.get_by_role("row", name=re.compile("^source"))).to_be_visible()
        expect(page.get_by_role("button", name="Test source")).to_have_count(0)
        expect(page.get_by_role("row", name=re.compile("^target"))).to_have_count(0)
    with site.visit("anna") as page:
        page.goto("/plugin/dsp/connections")
        page.get_by_role("link", name="Edit in Airflow").click()
        expect(page).to_have_url(re.compile(r"/connections\?.*name_pattern=source"))


def test_reports_of_a_period(site: Site) -> None:
    with site.visit("vera") as page:
        page.goto("/plugin/dsp/reports")
        expect(page).to_have_url(re.compile("/reports/jobs$"))
        nightly = page.get_by_role("row", name=re.compile("nightly events"))
        expect(nightly).to_contain_text("12,345")
        page.get_by_label("Task or job").fill("visit")
        expect(nightly).to_have_count(0)
        with page.expect_download() as report:
            page.get_by_role("button", name="Download CSV").click()
        lines = list(csv.reader(report.value.path().read_text().splitlines()))
        assert [line[:8] for line in lines[1:]] == [
            ["visits", "visits", "warm", "source: public.visits", "target: public.visits", *"101"]
        ]
        page.get_by_role("link", name="Abnormal").click()
        visits = page.get_by_role("row", name=re.compile("visits"))
        expect(visits).to_contain_text("2 rows different")
        expect(visits).to_contain_text("Next step: Find out why rows differ before any purge.")
        page.get_by_role("link", name="Archives").click()
        expect(page.get_by_role("img", name="Archive capacity over time")).to_contain_text(
            "pg: t → s3: b/p: 3.9 KiB at the end"
        )
        page.get_by_role("link", name="Restore drills").click()
        drills = page.get_by_role("table", name="Restore drills").get_by_role("row")
        expect(drills).to_have_count(5)
        expect(drills.nth(1)).to_contain_text(
            re.compile("cold / one.*2 of 2 batches10104.*failed$")
        )
        expect(drills.nth(2)).to_contain_text("Next step: Keep the source")
        expect(drills.nth(3)).to_contain_text("no archive was found")
        which = page.get_by_role("table", name="How much of each job's archives was tried")
        expect(which.get_by_role("row").nth(1)).to_contain_text(re.compile("^coldone211.*"))
        page.get_by_label("Result").select_option("Exception")
        with page.expect_download() as report:
            page.get_by_role("button", name="Download CSV").first.click()
        lines = list(csv.reader(report.value.path().read_text().splitlines()))
        assert [[line[0], line[7], line[13]] for line in lines[1:]] == [
            ["drill", "1-2", "failed"],
            ["drill", "", "failed"],
        ]
        page.get_by_role("link", name="Flow").click()
        flow = page.get_by_role("img", name="From where to where")
        expect(flow).to_contain_text("source to target")
        # The period goes along; before it nothing was moved, and the archives hold nothing.
        page.get_by_label("To (UTC)").fill("2020-01-01")
        expect(page.get_by_text("No run was made in this period.")).to_be_visible()
        page.get_by_role("link", name="Archives").click()
        expect(page).to_have_url(re.compile(r"/reports/archives\?until=2020-01-01$"))
        expect(page.get_by_text("Nothing was archived yet.")).to_be_visible()


def _pages(made: World) -> list[str]:
    """Paths of all pages, each with something to show."""
    job = f"/runs/{made.failed}/jobs/visits"
    return [
        "",
        "/monitoring/warm/in_progress",
        "/monitoring/warm/exception",
        f"/runs/{made.failed}",
        job,
        f"{job}/differences",
        "/scheduling",
        "/tasks",
        "/tasks/flights",
        "/tasks/broken",
        "/tasks/nightly/definitions",
        "/tasks/nightly/runs",
        "/tasks/old_events/approvals",
        "/new-task",
        "/approvals/all",
        f"/requests/{made.waiting}",
        "/processes",
        "/processes/new",
        "/permissions?role=owners",
        "/permissions/history",
        "/connections",
        "/reports/jobs",
        "/reports/abnormal",
        "/reports/archives",
        "/reports/drills",
        "/reports/flow",
    ]


def test_pages_can_be_read_and_used_by_everybody(site: Site) -> None:
    """By axe-core: no serious violation, light and dark; and nothing is wider than the window."""
    with site.visit("anna") as page:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto("/plugin/dsp")
        expect(page.get_by_role("heading", name="Home")).to_be_visible()
        page.evaluate(AXE.read_text())
        # Colours on their way from one theme to the other are none that anybody reads.
        page.add_style_tag(content="* { transition: none !important }")
        found = []
        for path in _pages(site.world):
            go(page, path)
            for theme in ("light", "dark"):
                page.evaluate("theme => document.documentElement.className = theme", theme)
                found += [f"{path} {theme}: {one}" for one in page.evaluate(VIOLATIONS, theme)]
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, path
        assert found == []
        # An approver on the way reads all of it without scrolling to the side, and can decide.
        page.set_viewport_size({"width": 390, "height": 844})
        go(page, f"/requests/{site.world.waiting}")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_the_keyboard_reaches_everything_and_shows_where_it_is(site: Site) -> None:
    with site.visit("vera") as page:
        page.goto("/plugin/dsp/monitoring/warm/completed")
        row = page.get_by_role("button", name=re.compile("^Show the jobs of"))
        expect(row.first).to_be_visible()
        page.get_by_role("link", name="Home", exact=True).last.focus()
        reached = []
        for _ in range(40):
            page.keyboard.press("Tab")
            at, shown = page.evaluate(FOCUSED)
            reached.append(at)
            assert shown, f"{at} does not show that it has the focus"
        assert any(one.startswith("Show the jobs of") for one in reached)
        assert {"Reports", "S3", "Sort by name", "Name or run"} <= set(reached)
        row.first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("table", name="Jobs")).to_be_visible()


def test_a_page_that_is_only_looked_at_asks_little(site: Site) -> None:
    with site.visit("vera") as page:
        asked: list[str] = []
        page.on(
            "request",
            lambda request: asked.append(request.url) if "/dsp/api/" in request.url else None,
        )
        page.goto("/plugin/dsp/monitoring/warm/completed")
        expect(page.get_by_text(re.compile(r"^1.1 of 1$"))).to_be_visible()
        before = len(asked)
        page.wait_for_timeout(10_000)
        assert len(asked) - before < 5, "one in two seconds"


def test_a_run_is_repaired_undone_and_done_again_and_a_table_accepted(site: Site) -> None:
    """At the end of all tests: lists show its runs, too, and a table is another one then."""
    state = site.world.bench.state
    run = begun(state, site.tasks / "flights.yaml", "flights/manual__undone")
    Runs(state).finish(run, "failed", "job one: 2 rows differ between source and target")
    differing(state, run)
    with site.visit("bert") as page:
        page.goto(f"/plugin/dsp/runs/{run}/jobs/one")
        page.get_by_role("button", name="Repair").click()
        dialog = page.get_by_role("alertdialog", name="Repair one?")
        expect(dialog).to_contain_text(f"The batches of run {run} of which the check found rows")
        dialog.get_by_role("button", name="Repair").click()
        expect(page.get_by_text("It runs in Airflow now: flights__repair")).to_be_visible()
        page.goto(f"/plugin/dsp/runs/{run}")
        page.get_by_role("button", name="Re-execute").click()
        dialog = page.get_by_role("alertdialog", name=re.compile("^Roll Flights .* run it again"))
        expect(dialog).to_contain_text(f"What run {run} wrote is undone")
        expect(dialog).to_contain_text("Then a new run of the task begins")
        dialog.get_by_role("button", name="Re-execute").click()
        expect(page.get_by_text("It runs in Airflow now: flights__rollback")).to_be_visible()
        for dag, form in (
            ("flights__repair", {"run": run, "job": "one"}),
            ("flights__rollback", {"run": run, "job": "all", "again": True}),
        ):
            (asked,) = site.airflow("GET", f"dags/{dag}/dagRuns").json()["dag_runs"]
            assert (asked["conf"], asked["triggering_user_name"]) == (form, "bert")
        # What both come to.
        Repairs(state).begin(run, "one", "bert")
        Repairs(state).end(run, "one", "bert")
        Rollbacks(state).begin(run, "one", "bert", "db public.flights", lambda _: None)
        why = [{"key": ["1"], "inserted": True, "why": f"others have changed it since {HOSTILE}"}]
        counts = {"removed": 12345, "restored": 7, "kept": 1}
        Rollbacks(state).end(run, "one", "bert", counts, why)
        Rollbacks(state).link(run, site.failed)
        page.reload()
        undone = page.get_by_role("region", name="one: rolled back")
        expect(undone).to_contain_text("Rows removed12,345")
        expect(undone).to_contain_text(f"1 kept: others have changed it since {HOSTILE}")
        expect(page.get_by_role("region", name="one: repaired")).to_contain_text(
            "Rows that differed2"
        )
        expect(page.get_by_text("partly rolled back")).to_be_visible()
        for name in ("Re-execute", "Roll back", "Repair", "Retry"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
        _judged(page)
        page.get_by_role("link", name=site.failed).click()
        page.get_by_role("link", name=f"Does the work of run {run} again").click()
        expect(undone).to_be_visible()

    site.world.bench.source.execute("ALTER TABLE events ADD COLUMN more text")
    known = Runs(state).get(site.world.running)
    file = str(site.tasks / "nightly.yaml")
    drifted = Runs(state).start("nightly", file, known.definition, "d" * 64).id
    error = "job events: public.events is not as it was when run r1 found it: column more added (t)"
    Runs(state).finish(drifted, "failed", error)
    with site.visit("bert") as page:
        page.goto(f"/plugin/dsp/runs/{drifted}")
        expect(page.get_by_text("then accept the table as it is")).to_be_visible()
        page.get_by_role("button", name="Accept the new shape").click()
        dialog = page.get_by_role("alertdialog", name="Accept the source table of events as it is?")
        expect(dialog.get_by_role("list")).to_contain_text("column more added (text)")
        dialog.get_by_role("button", name="Accept the new shape").click()
        expect(dialog).to_have_count(0)
    (told,) = audit.recent(state, Wanted(actions=["drift.accept"]), 9)
    assert (told.actor, told.object) == ("bert", "task nightly job events")


def _judged(page: Page) -> None:
    """By axe-core, in both themes."""
    page.evaluate(AXE.read_text())
    page.add_style_tag(content="* { transition: none !important }")
    found = []
    for theme in ("light", "dark"):
        page.evaluate("theme => document.documentElement.className = theme", theme)
        found += page.evaluate(VIOLATIONS, theme)
    assert found == []
