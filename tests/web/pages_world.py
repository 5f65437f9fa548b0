"""Runs and requests for pages to show: real ones, over small tables, some of hostile names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from dsp_airflow.approval.matching import Touched
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.requests import Requests
from dsp_airflow.approval.subject import Subject, job_estimate
from dsp_airflow.config.processes import Process
from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.permissions.grants import Holder, Scope
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state.runs import Runs
from tests.engine.harness import Bench
from tests.servers import Database, PostgresServer, fresh_database
from tests.state.samples import drilled, made_at, ran

HOSTILE = "<img src=x onerror=alert(1)>"
"""Were it ever markup, it would open a dialog, which fails a test."""


@dataclass
class World:
    """What the pages are asked about."""

    bench: Bench[Database]
    requests: Requests
    grants: Grants
    succeeded: str
    failed: str
    running: str
    waiting: str
    """A request that anna and olga may decide."""


@contextmanager
def world(server: PostgresServer, folder: Path) -> Iterator[World]:
    """One run that is through, one whose rows differ, one that goes on, and requests."""
    with fresh_database(server) as source, fresh_database(server) as target:
        bench = Bench(folder, source, target)
        _archived(bench)
        yield World(
            bench,
            requests := _requests(bench, folder),
            _grants(bench),
            succeeded=_succeeded(bench),
            failed=_failed(bench),
            running=_running(bench),
            waiting=_asked(bench, requests),
        )
        bench.state.close()


def _succeeded(bench: Bench[Database]) -> str:
    """Copied, checked and purged; its title and a key are hostile."""
    bench.source.execute(
        "CREATE TABLE orders (id text PRIMARY KEY, customer text)",
        f"INSERT INTO orders VALUES ('{HOSTILE}', '{HOSTILE}')",
        "INSERT INTO orders SELECT 'n' || n, 'customer ' || n FROM generate_series(1, 2500) n",
    )
    job = bench.job("orders", "public.orders", purge="system", check={"percent": 100})
    bench.write({**job, "batch_size": 100}, name="archive", display_name=f"Old orders {HOSTILE}")
    return bench.run(new=True).run


def _failed(bench: Bench[Database]) -> str:
    """A row differs, and the values that were recorded are hostile."""
    bench.source.execute(
        "CREATE TABLE visits (id bigint PRIMARY KEY, page text)",
        f"INSERT INTO visits SELECT n, '{HOSTILE}' || n FROM generate_series(1, 900) n",
    )
    job = bench.job("visits", "public.visits", check={"percent": 100}, report_values=True)
    bench.write({**job, "batch_size": 50}, name="visits", owner="bert")
    run = bench.open(new=True)
    run.plan("visits")
    run.copy("visits")
    bench.target.execute(f"UPDATE visits SET page = '{HOSTILE}' WHERE id IN (7, 420)")
    with pytest.raises(Mismatch) as error:
        run.check("visits")
    run.finish(error.value)
    return run.run.id


def _running(bench: Bench[Database]) -> str:
    """Copied, but not checked yet, and its second job has not begun."""
    bench.source.execute(
        "CREATE TABLE events (id bigint PRIMARY KEY, what text)",
        "INSERT INTO events SELECT n, 'event ' || n FROM generate_series(1, 1234567 / 100) n",
    )
    events = bench.job("events", "public.events", check={"percent": 10}, where="id > 0")
    bench.write(
        {**events, "batch_size": 100},
        bench.job("visits", "public.visits", purge="manual", check={"percent": 100}),
        name="nightly",
        owner="bert",
    )
    run = bench.open(new=True)
    run.plan("events")
    run.copy("events")
    return run.run.id


def _archived(bench: Bench[Database]) -> None:
    """What jobs to S3 put away, today and the week before; one was tried, and is not right."""
    now = bench.state.now()
    for days in (7, 0):
        at = now - timedelta(days=days)
        run = ran(bench.state, "cold", rows=100, at=at)
        Runs(bench.state).finish(run, "succeeded")
        made_at(bench.state, run, at)
        if days:
            drilled(bench.state, now - timedelta(hours=1), run, "failed")
    drilled(bench.state, now - timedelta(hours=2), None)


def _grants(bench: Bench[Database]) -> Grants:
    """Of a role, of who administers a connection, and of somebody whose name is hostile."""
    grants = Grants(bench.state)
    grants.add(Holder("owners", is_role=True), Scope("source", "public"), ["read"], "anna")
    grants.add(Holder("bert"), Scope("target"), ["administer"], "anna")
    grants.add(Holder(HOSTILE), Scope("source", "public", HOSTILE), ["read", "purge"], "anna")
    return grants


def _requests(bench: Bench[Database], folder: Path) -> Requests:
    (folder / "processes").mkdir()
    processes = Processes(bench.state, folder / "processes")
    for role, user in (("administrators", "anna"), ("owners", "anna"), ("owners", "olga")):
        Roles(bench.state).add(role, user, "anna")
    nodes = [{"role": "owners"}, {"user": "bert"}]
    processes.create(
        Process.model_validate(
            {
                "name": "Two",
                "task_type": "warm",
                "levels": [{"name": "all", "nodes": nodes}],
                "validity": {"approval": "48h", "waiting": "24h", "execution": "12h"},
                "start": "manual",
            }
        ),
        "anna",
    )
    return Requests(bench.state, processes=processes)


def hostile_task() -> str:
    """A task file that holds markup wherever it may; its rows are purged by hand."""
    table = f'public."{HOSTILE}"'
    return yaml.safe_dump(
        {
            "name": "flights",
            "display_name": f"Flights {HOSTILE}",
            "description": f"What for {HOSTILE}",
            "owner": HOSTILE,
            "remarks": HOSTILE,
            "jobs": [
                {
                    "name": "one",
                    "type": "warm",
                    "source": {"connection": HOSTILE, "table": table},
                    "target": {"connection": f"to {HOSTILE}", "table": table},
                    "where": f"v <> '{HOSTILE}'",
                    "purge": "manual",
                    "rollback": True,
                }
            ],
        }
    )


def plain_request(requests: Requests, key: str) -> str:
    """A request for a task of that name, with markup in what people wrote."""
    subject = Subject(
        task=key,
        title=f"Asked for {key} {HOSTILE}",
        task_type="warm",
        subtypes=frozenset({"insert"}),
        connections=(Touched(HOSTILE, frozenset({HOSTILE})),),
        bound={"text": HOSTILE},
        shown={"definition": {"text": HOSTILE}},
        rows=1,
    )
    return requests.ask(key, subject, "vera").id


def _asked(bench: Bench[Database], requests: Requests) -> str:
    """For a run over a table, as an estimate found it; an earlier one was approved."""
    job = bench.job("events", "public.events", purge="system", check={"percent": 100})
    bench.write({**job, "where": f"what <> '{HOSTILE}'"}, name="old_events")
    run = bench.open(new=True)
    plan = run.plan("events")
    (parsed,) = run.task.jobs
    estimate = job_estimate(parsed, plan, "postgresql", 12345)

    def subject(where: str) -> Subject:
        return Subject(
            task="old_events",
            title=f"Old events {HOSTILE}",
            task_type="warm",
            subtypes=frozenset({"insert", "update", "delete"}),
            connections=(Touched("source", frozenset({"production"})), Touched("target")),
            bound={"where": where},
            shown={"definition": {"where": where}, "jobs": [estimate]},
            rows=12345,
            bytes=987654,
            statements=1,
        )

    earlier = requests.ask("old_events/first", subject("what = 'old'"), "vera")
    requests.decide(earlier.id, "olga", "fine", approved=True)
    requests.decide(earlier.id, "bert", approved=True)
    requests.execute(earlier.id, "vera")
    requests.close("old_events/first", "", succeeded=True)
    return requests.ask("old_events/second", subject(f"what <> '{HOSTILE}'"), "vera").id
