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
SHARDED = """
    name: flights_sharded
    execution: parallel
    retries: 0
    jobs:
      - name: low
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: flights_target, table: public.flights}
        where: "id <= 1000"
        batch_size: 100
        shards: 2
        check: {percent: 100}
        purge: manual
      - name: high
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: flights_target, table: public.flights_high}
        where: "id > 1000"
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
    assert (run.state, run.external_key, run.triggered_by) == (
        "succeeded",
        f"flights_archive/{dag_run.run_id}",
        "dag_test",
    )
    [job] = world.runs.summary(run.id).jobs
    assert (job.rows_written, job.rows_checked, job.rows_purged, job.state) == (
        2000,
        2000,
        2000,
        "succeeded",
    )
    [mail] = mails.wait_for_mails(1, 10)
    assert mail["Subject"] == "[dsp] OK: Move old flights"


def test_shards_several_jobs_and_manual_deletion(world: World, run_dag: Callable[..., Any]) -> None:
    world.fill()
    world.write("flights", SHARDED)
    dag_run = run_dag("flights_sharded")
    assert dag_run.state == "success"
    mapped = [t for t in dag_run.get_task_instances() if t.task_id == "low.copy"]
    assert sorted(t.map_index for t in mapped) == [0, 1]
    assert world.count() == (2500, 1000)
    assert world.target.value("SELECT count(*) FROM flights_high") == 1500
    [run] = world.runs.recent()
    assert run.state == "succeeded"
    by_hand = run_dag("flights_sharded__purge", run_conf={"batches": "1-3, 10", "run": run.id})
    assert by_hand.state == "success"
    assert world.count() == (2100, 1000)
    world.source.execute("DELETE FROM flights WHERE id <= 1000")
    form = {"batches": "all", "run": "latest", "act": "mark_deleted"}
    assert run_dag("flights_sharded__purge", run_conf=form).state == "success"
    low = next(job for job in world.runs.summary(run.id).jobs if job.name == "low")
    assert (low.batches_purged, low.rows_purged, low.rows_gone) == (10, 400, 600)
