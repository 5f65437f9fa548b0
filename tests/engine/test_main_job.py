"""The main job: copied, checked, purged, with true counts."""

from __future__ import annotations

import pytest

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.stores.postgres import write
from dsp_airflow.state.runs import Runs
from tests.engine.harness import Bench
from tests.servers import Database

TABLE = """
CREATE TABLE t (id bigint PRIMARY KEY, name text, amount numeric(12,2), at timestamptz,
                ok boolean, data bytea, j jsonb, f float8, d date, u uuid, tags int[])
"""
FILL = """
INSERT INTO t SELECT n, 'name ' || n, n / 7.0, timestamptz '2020-01-01' + n * interval '1 min',
  n % 3 = 0, decode(md5(n::text), 'hex'), jsonb_build_object('n', n), n / 3.0::float8,
  date '2020-01-01' + n::int % 1000, md5(n::text)::uuid, ARRAY[n::int, NULL]
FROM generate_series(1, {rows}) AS n
"""


def fill(bench: Bench[Database], rows: int = 1000) -> None:
    bench.source.execute(TABLE, FILL.format(rows=rows))


def test_copied_checked_and_purged(bench: Bench[Database]) -> None:
    fill(bench)
    before = bench.source.rows("SELECT * FROM t ORDER BY id")
    bench.write(bench.job(where="id <= 600", purge="system", batch_size=100))
    found = bench.run()
    (job,) = found.jobs
    assert found.state == "succeeded"
    assert (job.rows_total, job.rows_read, job.rows_written, job.batches) == (600, 600, 600, 6)
    assert (job.rows_checked, job.rows_different) == (100, 0)
    assert (job.rows_purged, job.rows_kept) == (600, 0)
    assert bench.target.rows("SELECT * FROM t ORDER BY id") == before[:600]
    assert bench.source.rows("SELECT * FROM t ORDER BY id") == before[600:]


def test_rows_that_appear_during_a_direct_load(
    bench: Bench[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The range looked empty and was not: the batch goes through staging instead."""
    fill(bench)
    bench.write(bench.job(batch_size=100, check={"percent": 100}))
    run = bench.open()
    run.plan("copy")
    bench.target.execute(*run.plan("copy").ddl)
    bench.target.execute("INSERT INTO t (id, name) VALUES (250, 'first'), (2000, 'other')")
    monkeypatch.setattr(write, "_empty", lambda *_: True)
    assert run.copy("copy").rows_written == 1000
    assert run.check("copy").rows_different == 0
    assert bench.target.value("SELECT name FROM t WHERE id = 250") == "name 250"
    assert bench.target.value("SELECT name FROM t WHERE id = 2000") == "other"


def test_second_run_merges_and_leaves_other_rows_alone(bench: Bench[Database]) -> None:
    fill(bench)
    bench.write(bench.job(batch_size=100, check={"percent": 100}, where="id % 2 = 0"))
    bench.run()
    bench.target.execute(
        "INSERT INTO t (id, name) SELECT n, 'other' FROM generate_series(1,999,2) n"
    )
    bench.source.execute("UPDATE t SET name = 'new' WHERE id = 10", "DELETE FROM t WHERE id = 12")
    found = bench.run(new=True)
    (job,) = found.jobs
    assert (job.rows_written, job.rows_checked, job.rows_different) == (499, 499, 0)
    assert bench.target.value("SELECT count(*) FROM t WHERE name = 'other'") == 500
    assert bench.target.value("SELECT name FROM t WHERE id = 10") == "new"


@pytest.mark.parametrize(
    ("harm", "kind", "columns"),
    [
        ("DELETE FROM t WHERE id = 500", "missing", ()),
        ("INSERT INTO t (id) VALUES (-5)", "extra", ()),
        ("UPDATE t SET data = set_byte(data, 3, 7) WHERE id = 500", "changed", ("data",)),
        ("UPDATE t SET name = '' WHERE id = 500", "changed", ("name",)),
        ("UPDATE t SET name = NULL WHERE id = 500", "changed", ("name",)),
        ("UPDATE t SET name = name || ' ' WHERE id = 500", "changed", ("name",)),
        ("UPDATE t SET amount = amount + 0.01 WHERE id = 500", "changed", ("amount",)),
        ("UPDATE t SET at = at + interval '1 us' WHERE id = 500", "changed", ("at",)),
        ("UPDATE t SET f = '-0.0' WHERE id = 501", "changed", ("f",)),
    ],
)
def test_planted_difference_is_named(
    bench: Bench[Database], harm: str, kind: str, columns: tuple[str, ...]
) -> None:
    fill(bench)
    bench.source.execute("UPDATE t SET f = 0.0 WHERE id = 501", "UPDATE t SET name='' WHERE id=502")
    bench.write(bench.job(check={"percent": 100}, batch_size=100))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.target.execute(harm)
    with pytest.raises(Mismatch, match="1 rows differ"):
        run.check("copy")
    (found,) = run.runs.differences(run.run.id)
    assert (found.difference.kind, found.difference.columns) == (kind, columns)
    assert found.difference.key in {("500",), ("501",), ("-5",)}


def test_killed_before_a_stored_plan_was_told(
    bench: Bench[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is there, the job's state does not say so: the run goes on all the same."""
    fill(bench)
    bench.write(bench.job(purge="system"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Runs, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.open().plan("copy")
    (job,) = bench.latest().summary().jobs
    assert (job.state, job.batches) == ("waiting", 1)
    (job,) = bench.run().jobs
    assert (job.state, job.rows_purged) == ("succeeded", 1000)
