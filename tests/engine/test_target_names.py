"""Target tables whose names a run completes: once, and for all of its steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.naming import TABLE
from dsp_airflow.opening import latest_run
from dsp_airflow.state.database import StateDatabase
from tests.engine.harness import Bench
from tests.servers import Database

MONTHLY: dict[str, Any] = {"target": {"table": "public.t_{{ now:%Y%m }}"}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """What time it is for a run that begins."""
    at = [datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)]
    monkeypatch.setattr(StateDatabase, "now", lambda _: at[0])
    return at


def tables(database: Database) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 't%' ORDER BY 1"
    return [name for (name,) in database.rows(query)]


def ids(database: Database, table: str) -> list[int]:
    return [n for (n,) in database.rows(f"SELECT id FROM {table} ORDER BY id")]


def test_a_run_keeps_its_table_past_midnight(bench: Bench[Database], clock: list[datetime]) -> None:
    bench.source.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    bench.write(bench.job(**MONTHLY, purge="manual", check={"percent": 100}))
    first = bench.open()
    assert first.plan("copy").target.label == "public.t_202601"
    clock[0] = datetime(2026, 2, 1, tzinfo=UTC)
    # Another process goes on, as a retry does: it begins the run again.
    again = bench.open()
    assert again.run.id == first.run.id
    again.copy("copy")
    bench.latest().check("copy")
    again.finish()
    assert tables(bench.target) == ["t_202601"]
    bench.source.execute("INSERT INTO t VALUES (3)")
    bench.run(new=True)
    assert tables(bench.target) == ["t_202601", "t_202602"]
    # By hand, and later: a run is proved against the table that it wrote.
    bench.target.execute("DELETE FROM t_202602 WHERE id = 1", "DELETE FROM t_202601 WHERE id = 2")
    of_first = latest_run(bench.state, first.task, bench.store, run_id=first.run.id)
    assert of_first.purge("copy").rows_purged == 1
    assert ids(bench.source, "t") == [2, 3]
    assert bench.latest().purge("copy").rows_purged == 2
    assert ids(bench.target, "t_202601") == [1]
    assert ids(bench.target, "t_202602") == [2, 3]


def test_a_run_that_was_not_begun_has_no_table(bench: Bench[Database]) -> None:
    bench.source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    bench.write(bench.job(**MONTHLY))
    run = bench.open()
    run.run = replace(run.run, variables={})
    with pytest.raises(Refused, match="has no name yet"):
        run.plan("copy")
    assert tables(bench.target) == []


def test_names_are_judged_as_they_come_out(bench: Bench[Database], clock: list[datetime]) -> None:
    bench.source.execute(
        "CREATE TABLE t (n int)", "CREATE TABLE u (n int)", "CREATE TABLE t_2026 (id int)"
    )
    same: dict[str, Any] = {"target": {"table": "public.one_{{ now:%Y }}"}}
    also: dict[str, Any] = {"target": {"table": "public.one_{{ run_date-1M:%G }}"}}
    bench.write(bench.job("copy", **same), bench.job("other", "public.u", **also))
    run = bench.open()
    assert {v[TABLE] for v in run.run.variables.values()} == {"public.one_2026"}
    with pytest.raises(ConfigError, match=r"other jobs of the task write into public\.one_2026"):
        run.plan("copy")
    # In December they are two.
    clock[0] = datetime(2026, 1, 15, tzinfo=UTC)
    assert bench.open(new=True).plan("copy").target.label == "public.one_2026"

    long = "x" * 55 + "{{ now:%Y%m%d%H }}"
    bench.write(bench.job(target={"table": f"public.{long}"}))
    with pytest.raises(ConfigError, match="63"):
        bench.open(new=True).plan("copy")

    itself = {"connection": "source", "table": "public.t_{{ now:%Y }}"}
    bench.write(bench.job(table="public.t_2026", target=itself))
    with pytest.raises(Refused, match="its own target"):
        bench.open(new=True).plan("copy")
