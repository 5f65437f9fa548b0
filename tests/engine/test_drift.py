"""A source table that changes: between two runs, and in the middle of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dsp_airflow.drifting import drift_of, key_of
from dsp_airflow.engine.errors import Refused, Terminated
from dsp_airflow.state.shapes import Shapes
from dsp_airflow.steps import TaskRun
from tests.faults.test_world import stop_after
from tests.mysql.pairs import Pair
from tests.servers import Database, PostgresServer, fresh_database, fresh_mysql_database


@pytest.fixture(params=["pg15", "mariadb", "mysql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Two databases of one server, with a table that was copied once."""
    server = request.getfixturevalue(request.param)
    fresh: Any = fresh_database if isinstance(server, PostgresServer) else fresh_mysql_database
    with ExitStack() as stack:
        pair = Pair(
            tmp_path, stack.enter_context(fresh(server)), stack.enter_context(fresh(server))
        )
        pair.source.execute(TABLE, "INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'b', 2, 2)")
        yield pair


TABLE = "CREATE TABLE t (id int PRIMARY KEY, v varchar(10), n int NOT NULL, m int NOT NULL)"


class Change(NamedTuple):
    """What is done, what takes it back, how it is told, and whether add-columns takes it.

    Where nothing is told the next run takes it, whatever the policy.
    """

    do: str
    undo: str
    told: str
    taken: bool = False


def changes(pair: Pair) -> dict[str, Change]:
    if isinstance(pair.source, Database):
        retyped, key = "ALTER COLUMN v TYPE varchar({})", "ADD PRIMARY KEY (n)"
        dropped = "DROP CONSTRAINT t_pkey"
        free, bound = (f"ALTER COLUMN m {word} NOT NULL" for word in ("DROP", "SET"))
        filled, empty = (f"ALTER COLUMN v {word} NOT NULL" for word in ("SET", "DROP"))
        last = "DROP COLUMN {0}, ADD COLUMN {0} int NOT NULL DEFAULT 1"
        reordered, ordered = last.format("n"), last.format("m")
    else:
        retyped, key, dropped = "MODIFY v varchar({})", "ADD PRIMARY KEY (n)", "DROP PRIMARY KEY"
        free, bound = "MODIFY m int NULL", "MODIFY m int NOT NULL"
        filled, empty = "MODIFY v varchar(10) NOT NULL", "MODIFY v varchar(10) NULL"
        reordered, ordered = (f"MODIFY n int NOT NULL AFTER {other}" for other in ("m", "v"))
    return {
        "added": Change("ADD COLUMN w int", "DROP COLUMN w", "column w added", taken=True),
        "dropped": Change("DROP COLUMN m", "ADD COLUMN m int NOT NULL DEFAULT 1", "column m drop"),
        "renamed": Change(
            "RENAME COLUMN m TO o", "RENAME COLUMN o TO m", "m dropped (renamed to o"
        ),
        "widened": Change(retyped.format(20), retyped.format(10), "(20): wider", taken=True),
        "narrowed": Change(retyped.format(5), retyped.format(10), "(5): not wide enough"),
        "loosened": Change(free, bound, "column m was int", taken=True),
        "tightened": Change(filled, empty, "(10) NOT NULL: not wide enough"),
        "key": Change(
            f"{dropped}, {key}",
            f"{dropped}, {key.replace('(n)', '(id)')}",
            "the key was (id), is (n)",
        ),
        # The last one: PostgreSQL makes a column anew for it, without its values.
        "reordered": Change(reordered, ordered, ""),
    }


def told_wide(found: str) -> str:
    return found.replace("character varying", "varchar")


def altered(pair: Pair, statement: str) -> None:
    pair.source.execute(f"ALTER TABLE t {statement}")


def once(pair: Pair, **job: Any) -> TaskRun:
    pair.write(pair.job(check={"percent": 100}, **job))
    pair.run(new=True)
    return pair.latest()


@pytest.mark.parametrize("policy", ["fail", "add-columns"])
def test_between_runs_and_in_the_middle_of_one(pair: Pair, policy: str) -> None:
    once(pair, drift=policy, batch_size=1)
    for name, change in changes(pair).items():
        begun = pair.open(new=True)
        begun.plan("copy")
        if policy == "fail":
            # With one batch copied; else before the first.
            stop_after(begun, 1)
            with pytest.raises(Terminated):
                begun.copy("copy")
        altered(pair, change.do)
        # Whatever the policy says: a run keeps to what it was planned by.
        with pytest.raises(Refused, match="altered since the run was planned"):
            pair.latest().copy("copy")
        run = pair.open(new=True)
        if not change.told:
            # Columns are found by their names, whatever their order is.
            assert not any("column" in warning for warning in run.plan("copy").warnings)
        elif policy == "add-columns" and change.taken:
            found = told_wide("\n".join(run.plan("copy").warnings))
            assert change.told in found, name
            Shapes(pair.state).accept(*accepted(run))
        else:
            with pytest.raises(Refused) as caught:
                run.plan("copy")
            assert change.told in told_wide(str(caught.value)), name
            assert f"drift: {policy}" in str(caught.value)
        altered(pair, change.undo)
        Shapes(pair.state).accept(*accepted(run))


def accepted(run: TaskRun) -> tuple[Any, Any, str]:
    """The table as it is now, as ``dsp drift --accept`` says it."""
    job = run.task.job("copy")
    source = run.open_store("source")
    found = drift_of(run.database, "task", job, source)
    return key_of("task", job, source), found.shape, "ann"


def test_columns_are_added_and_none_is_dropped(pair: Pair) -> None:
    once(pair, drift="add-columns")
    altered(pair, "ADD COLUMN w varchar(20) NOT NULL DEFAULT 'x'")
    altered(pair, "ADD COLUMN x int")
    pair.source.execute("INSERT INTO t VALUES (3, 'c', 3, 3, 'y', 7)")
    run = pair.open()
    plan = run.plan("copy")
    assert len(plan.adds) == 2
    assert any("gets what it lacks: ALTER TABLE" in warning for warning in plan.warnings)
    # Killed once one of the two was there.
    pair.target.execute(plan.adds[0])
    again = pair.latest()
    again.copy("copy")
    assert again.check("copy").rows_checked == 3
    again.finish()
    look = "SELECT id, v, w, x FROM t ORDER BY id"
    copied = [(1, "a", "x", None), (2, "b", "x", None), (3, "c", "y", 7)]
    assert rows(pair, look) == copied
    # A dropped column is refused; once accepted, the target keeps it and what it holds.
    altered(pair, "DROP COLUMN w")
    with pytest.raises(Refused, match="column w dropped"):
        pair.open(new=True).plan("copy")
    Shapes(pair.state).accept(*accepted(again))
    pair.source.execute("UPDATE t SET v = 'z' WHERE id = 1")
    pair.run(new=True)
    assert rows(pair, look) == [(1, "z", "x", None), *copied[1:]]


def rows(pair: Pair, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in pair.target.rows(query)]
