"""Whole DAGs by ``dag.test()`` on real databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.dags.conftest import World
from tests.servers import SmtpSink

TASK = """
    name: flights_archive
    display_name: Move old flights
    notify: {when: always, to: [oncall@example.com]}
    retries: 0
    jobs:
      - name: flights_warm
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: flights_target, table: public.flights}
        where: "id <= :last"
        variables: {last: 2000}
        batch_size: 500
        check: {percent: 100}
        purge: system
"""


def test_copies_checks_and_purges(
    world: World, run_dag: Callable[..., Any], mails: SmtpSink
) -> None:
    world.fill()
    world.write("flights", TASK)
    dag_run = run_dag("flights_archive")
    assert dag_run.state == "success"
    assert world.count() == (500, 2000)
    [run] = world.runs.recent()
    assert (run.state, run.external_key) == (
        "succeeded",
        f"flights_archive/{dag_run.run_id}",
    )
    [job] = world.runs.summary(run.id).jobs
    assert (job.rows_written, job.rows_checked, job.rows_purged, job.state) == (
        2000,
        2000,
        2000,
        "succeeded",
    )
    print(mails.wait_for_mails(1, 5)[0])
