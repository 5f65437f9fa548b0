"""The pages in a real Airflow, as people use them: what a button says ends in rows, or in none.

Approval and grants are on, as by default: a process lets work on the shop through, and that on the
office waits for two people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.requests import Requests
from dsp_airflow.config.process_loading import parse_process
from dsp_airflow.demo.rest import AirflowApi
from dsp_airflow.demo.standalone import AirflowStandalone
from dsp_airflow.permissions.grants import Holder, Scope
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from dsp_airflow.state.records import Run
from dsp_airflow.state.runs import Runs
from tests.e2e.conftest import REPOSITORY, RUN_SECONDS, logged
from tests.servers import Database, PostgresServer, fresh_database
from tests.web.browser import Visitors, chromium

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]

RUN_ENDS = RUN_SECONDS * 1000
ROWS = 400
USERS = {"anna": "admin", "rita": "op", "otto": "user", "vera": "viewer"}
"""Who administers, who works, who approves, who looks; with their roles in Airflow."""
TASK = """\
name: {name}
owner: daria
retries: 0
jobs:
  - name: rows
    type: warm
    source: {{connection: {source}, table: public.{name}}}
    target: {{connection: warehouse, table: public.{name}}}
    batch_size: 100
    check: {{percent: 100}}
    purge: {purge}
    {more}
"""
TASKS: dict[str, dict[str, str]] = {
    "orders": {"purge": "manual"},
    "slow": {"more": "limits: {rows_per_second: 20}"},
    "ghosts": {},
    "careful": {"source": "office"},
    "lost": {"source": "nowhere"},
}
PROCESSES = """\
name: Shop
task_type: warm
priority: 1
connections: {names: [shop]}
levels: [{nodes: [{automatic: true}]}]
---
name: Purges
task_type: purge
levels: [{nodes: [{automatic: true}]}]
---
name: TwoPeople
task_type: warm
priority: 2
start: manual
levels: [{nodes: [{role: owners}, {user: anna}]}]
"""
GRANTS = (
    *(("daria", on, ("read", "purge")) for on in ("shop", "office")),
    ("daria", "warehouse", ("write",)),
    ("rita", "shop", ("read", "purge")),
    *(("rita", on, ("read",)) for on in ("office", "warehouse")),
    *(("otto", on, ("approve",)) for on in ("office", "warehouse")),
)


@dataclass
class Site:
    """An Airflow with its databases, and people before it."""

    airflow: AirflowStandalone
    api: AirflowApi
    source: Database
    target: Database
    state: StateDatabase
    visitors: Visitors

    def visit(self, user: str) -> AbstractContextManager[Page]:
        return self.visitors.page(user)

    def latest(self, task: str) -> Run:
        found = Runs(self.state).latest(task)
        assert found is not None
        return found

    def counts(self, table: str) -> tuple[int, int]:
        """Rows in source and target."""
        there = self.target.value(f"SELECT to_regclass('public.{table}') IS NOT NULL")
        query = f"SELECT count(*) FROM {table}"
        return self.source.value(query), self.target.value(query) if there else 0

    def settled(self, task: str) -> str:
        """The end of the latest run, once Airflow knows of it, too: only then it can be cleared."""
        dag, run = str(self.latest(task).external_key).split("/", 1)
        return self.api.wait_for_run(dag, run, RUN_SECONDS)


def fill(home: Path, source: Database) -> None:
    dags = home / "dags"
    (dags / "tasks").mkdir(parents=True)
    (dags / "dsp_tasks.py").write_text((REPOSITORY / "dags" / "dsp_tasks.py").read_text())
    usual = {"source": "shop", "purge": "none", "more": ""}
    for name, values in TASKS.items():
        text = TASK.format(name=name, **usual | values)
        (dags / "tasks" / f"{name}.yaml").write_text(text)
        if name not in ("ghosts", "lost"):
            make(source, name)


def make(source: Database, table: str) -> None:
    source.execute(
        f"CREATE TABLE {table} (id int PRIMARY KEY, what text)",
        f"INSERT INTO {table} SELECT n, 'row ' || n FROM generate_series(1, {ROWS}) n",
    )


@pytest.fixture(scope="module")
def site(pg18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("pages")
    with ExitStack() as stack:
        source, target, database, metadata = (
            stack.enter_context(fresh_database(pg18)) for _ in range(4)
        )
        fill(home, source)
        upgrade(database.uri)
        state = stack.enter_context(open_state(database.uri))
        for role, user in (("administrators", "anna"), ("owners", "otto")):
            Roles(state).add(role, user, "anna")
        for text in PROCESSES.split("---\n"):
            Processes(state, home / "dags" / "processes").create(parse_process(text, "it"), "anna")
        for user, connection, privileges in GRANTS:
            Grants(state).add(Holder(user), Scope(connection), privileges, "anna")
        users = {"admin": "admin", **USERS}
        airflow = AirflowStandalone(
            home,
            dags=home / "dags",
            plugins=REPOSITORY / "plugins",
            state_url=database.uri,
            metadata_url=metadata.uri,
            connections={
                "shop": source.uri,
                "office": source.uri,
                "warehouse": target.uri,
                "nowhere": "postgresql://nobody:nothing@127.0.0.1:9/nowhere",
            },
            settings={
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(
                    f"{name}:{role}" for name, role in users.items()
                ),
            },
        )
        stack.enter_context(airflow)
        browser = stack.enter_context(chromium())
        api = airflow.wait_until_ready()
        stack.callback(api.close)
        for dag in (*TASKS, "orders__purge"):
            api.wait_for_dag(dag, 120)
            api.unpause(dag)
        passwords = {name: airflow.password_of(name) for name in USERS}
        yield Site(airflow, api, source, target, state, Visitors(browser, airflow.url, passwords))


def press(page: Page, button: str, *, says: str = "", writes: str = "") -> None:
    """A button, and the same word in the question that it asks."""
    page.get_by_role("button", name=button, exact=True).click()
    dialog = page.get_by_role("alertdialog")
    if writes:
        dialog.get_by_role("textbox").fill(writes)
    if says:
        expect(dialog).to_contain_text(says)
    dialog.get_by_role("button", name=button, exact=True).click()
    expect(dialog).to_have_count(0)


def execute(page: Page, task: str) -> None:
    """Begins a run and goes to its page, as soon as there is one."""
    page.goto(f"/plugin/dsp/tasks/{task}/runs")
    runs = page.get_by_role("table", name="Latest runs").get_by_role("link")
    expect(page.get_by_role("button", name="Execute now")).to_be_visible()
    before = runs.count()
    press(page, "Execute now", says="A run of its DAG begins in Airflow, in your name")
    expect(page.get_by_text("It runs in Airflow now:")).to_be_visible()
    expect(runs).to_have_count(before + 1, timeout=RUN_ENDS)
    runs.first.click()
    expect(page).to_have_url(re.compile("/plugin/dsp/runs/"))


def ends(page: Page, state: str) -> None:
    """The page says so by itself, beside the name of the run."""
    badge = page.get_by_role("main").get_by_text(state, exact=True).first
    expect(badge).to_be_visible(timeout=RUN_ENDS)


def test_a_task_is_run_and_watched_to_its_end_and_purged_by_batch(site: Site) -> None:
    with site.visit("rita") as page:
        execute(page, "orders")
        ends(page, "succeeded")
        expect(page.get_by_role("main")).to_contain_text("400 / 400")
        assert site.counts("orders") == (ROWS, ROWS)
        run = site.latest("orders")
        assert (run.state, run.triggered_by) == ("succeeded", "rita")
        page.get_by_role("table", name="Jobs").get_by_role("link", name="rows").click()
        press(page, "Purge source by batch", writes="1-2", says="2 of its batches are deleted from")
        expect(page.get_by_text("It runs in Airflow now:")).to_be_visible()
        for batch in ("Batch 1: purged", "Batch 2: purged"):
            expect(page.get_by_role("button", name=batch)).to_be_visible(timeout=RUN_ENDS)
        assert site.counts("orders") == (ROWS - 200, ROWS)
        # Of the next ones somebody has removed the rows himself, but for those of the last.
        site.source.execute("DELETE FROM orders WHERE id <= 300")
        press(page, "Mark as deleted", writes="3-4", says="Nothing is deleted. 2 of its batches")
        expect(page.get_by_role("button", name="Batch 3: purged")).to_be_visible(timeout=RUN_ENDS)
        purges = site.api.get("/dags/orders__purge/dagRuns")["dag_runs"]
        (dag_run,) = [one["dag_run_id"] for one in purges if "act" in one["conf"]]
        assert site.api.wait_for_run("orders__purge", dag_run, RUN_SECONDS) == "failed"
        said = "batch 4: 100 rows still stand in the source"
        logged(site.airflow, ("orders__purge", dag_run, "purge"), said)
        expect(page.get_by_role("button", name="Batch 4: checked")).to_be_visible()
    (job,) = Runs(site.state).summary(run.id).jobs
    assert (job.rows_purged, job.rows_gone, job.rows_kept) == (200, 100, 0)
    assert site.counts("orders") == (100, ROWS)


def test_a_run_is_terminated_at_the_edge_of_its_batches(site: Site) -> None:
    with site.visit("rita") as page:
        execute(page, "slow")
        bar = page.get_by_role("table", name="Jobs")
        expect(bar.get_by_text("copying").first).to_be_visible(timeout=RUN_ENDS)
        press(page, "Terminate", says="stops at the edge of the batches", writes="too slow")
        ends(page, "terminated")
        expect(page.get_by_role("main")).to_contain_text("rita asked it to stop: too slow")
    assert site.settled("slow") == "failed"
    assert site.counts("slow")[1] in range(0, ROWS, 100)


def test_a_run_that_failed_is_tried_again(site: Site) -> None:
    with site.visit("rita") as page:
        execute(page, "ghosts")
        ends(page, "failed")
        expect(page.get_by_role("main")).to_contain_text("ghosts")
        failed = site.latest("ghosts").id
        assert site.settled("ghosts") == "failed"
        make(site.source, "ghosts")
        press(page, "Retry", says="are cleared in Airflow and go on where they stopped")
        ends(page, "succeeded")
    again = site.latest("ghosts")
    assert (again.id, again.state, again.attempt) == (failed, "succeeded", 2)
    assert site.counts("ghosts") == (ROWS, ROWS)


def decide(page: Page, button: str, comment: str) -> None:
    page.goto("/plugin/dsp/approvals/waiting")
    page.get_by_role("link", name="careful", exact=True).first.click()
    press(page, button, writes=comment)


def test_two_people_agree_after_one_of_them_did_not(site: Site) -> None:
    requests = Requests(site.state)
    with site.visit("rita") as page:
        execute(page, "careful")
        waits = page.get_by_text("waits for approval by role owners (otto)")
        expect(waits).to_be_visible(timeout=RUN_ENDS)
    with site.visit("otto") as page:
        decide(page, "Reject", "smaller batches, please")
        expect(page.get_by_text("smaller batches, please").first).to_be_visible()
    assert site.settled("careful") == "failed"
    file = site.airflow.home / "dags" / "tasks" / "careful.yaml"
    file.write_text(file.read_text().replace("batch_size: 100", "batch_size: 50"))
    with site.visit("rita") as page:
        execute(page, "careful")
        run = site.latest("careful")
        key = str(run.external_key)
        assert site.api.wait_for(lambda: requests.find(key) is not None, RUN_SECONDS)
        request = requests.find(key)
        assert request is not None
        for user in ("otto", "anna"):
            with site.visit(user) as other:
                decide(other, "Approve", "as agreed")
        assert site.counts("careful") == (ROWS, 0)
        page.goto(f"/plugin/dsp/requests/{request.id}")
        press(page, "Execute now", says="It begins at once")
        page.goto(f"/plugin/dsp/runs/{run.id}")
        ends(page, "succeeded")
    assert site.counts("careful") == (ROWS, ROWS)
    done = requests.get(request.id)
    assert [(one.actor, one.verdict) for one in done.decisions] == [
        ("otto", "approved"),
        ("anna", "approved"),
    ]
    assert Runs(site.state).summary(run.id).jobs[0].batches == ROWS / 50


def test_a_process_is_made_ordered_and_disabled(site: Site) -> None:
    processes = Processes(site.state, site.airflow.home / "dags" / "processes")
    with site.visit("anna") as page:
        page.goto("/plugin/dsp/processes/new")
        page.get_by_label("Name", exact=True).fill("Third")
        page.get_by_role("button", name="Next").click()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("row", name=re.compile("Third"))).to_be_visible()
        page.goto("/plugin/dsp/processes?type=warm")
        page.get_by_role("button", name="Set priority").click()
        dialog = page.get_by_role("dialog")
        for _ in range(2):
            dialog.get_by_role("button", name="Move Third up").click()
        dialog.get_by_role("button", name="Save").click()
        expect(dialog).to_have_count(0)
        page.get_by_role("button", name="Third", exact=True).click()
        press(page, "Disable")
        expect(page.get_by_role("row", name=re.compile("Third")).first).to_contain_text("disabled")
    found = processes.get("Third").process
    assert (found.enabled, found.priority < processes.get("Shop").process.priority) == (False, True)


def test_a_grant_is_given_and_revoked(site: Site) -> None:
    check = "/dsp/api/v1/grants/check?connection=office&privilege=write&user=otto"
    with site.visit("anna") as page:
        assert page.request.get(check).json()["allowed"] is False
        page.goto("/plugin/dsp/permissions")
        page.get_by_role("button", name="Give a grant").click()
        dialog = page.get_by_role("alertdialog")
        dialog.get_by_label("Name").fill("otto")
        dialog.get_by_label("Connection").fill("office")
        dialog.get_by_label("Write").check()
        dialog.get_by_role("button", name="Give a grant").click()
        expect(dialog).to_have_count(0)
        assert page.request.get(check).json()["allowed"] is True
        page.goto("/plugin/dsp/permissions?user=otto")
        row = page.get_by_role("row", name=re.compile("office")).filter(
            has=page.get_by_role("img", name="yes")
        )
        expect(row.first).to_be_visible()
        given = Grants(site.state).all(holder="otto")
        (grant,) = [one for one in given if "write" in one.privileges]
        answer = page.request.delete(f"/dsp/api/v1/grants/{grant.id}", data={})
        assert answer.status == 204, answer.text()
        assert page.request.get(check).json()["allowed"] is False


def test_connections_are_tested(site: Site) -> None:
    with site.visit("anna") as page:
        page.goto("/plugin/dsp/connections")
        for name, row, state in (("shop", "reachable", "ok"), ("nowhere", "reachable", "failed")):
            page.get_by_role("button", name=f"Test {name}").click()
            found = page.get_by_role("table", name=f"What the test of {name} found")
            expect(found.get_by_role("row", name=re.compile(row)).first).to_contain_text(state)
        expect(page.get_by_role("main")).not_to_contain_text("nothing")


ACTIONS = re.compile(
    "Execute|Terminate|Retry|Purge|Mark|Enable|Disable|offline|Approve|Reject|Give|Revoke|Test "
)


def test_who_only_looks_is_offered_nothing_and_refused_all_the_same(site: Site) -> None:
    purgeable = f"runs/{site.latest('orders').id}/jobs/rows"
    run = Runs(site.state).start("orders", "orders.yaml", {}, "d" * 64).id
    refused: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/tasks/orders/run", {}),
        ("/tasks/orders/disable", {}),
        (f"/runs/{run}/terminate", {}),
        (f"/{purgeable}/purge", {"batches": "1"}),
        (f"/{purgeable}/mark-deleted", {"batches": "1"}),
        ("/processes", {"name": "Mine", "task_type": "warm"}),
        ("/grants", {"holder": "vera", "connection": "shop", "privileges": ["read"]}),
    )
    pages = ("tasks/orders", "scheduling", f"runs/{run}", purgeable, "permissions", "connections")
    with site.visit("vera") as page:
        for path in pages:
            page.goto(f"/plugin/dsp/{path}")
            expect(page.get_by_role("main").get_by_role("heading").first).to_be_visible()
            page.wait_for_load_state("networkidle")
            buttons = page.get_by_role("main").get_by_role("button", name=ACTIONS)
            assert buttons.all_inner_texts() == [], path
        for path, body in refused:
            answer = page.request.post(f"/dsp/api/v1{path}", data=body)
            assert answer.status == 403, (path, answer.text())
