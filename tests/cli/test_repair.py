"""`dsp repair`: only what a check found to differ is copied again."""

from __future__ import annotations

from tests.cli.harness import Dsp, job


def test_only_what_differs(dsp: Dsp) -> None:
    dsp.fill(50)
    dsp.source.execute("DELETE FROM t WHERE id = 35")
    file = dsp.write(job(batch_size=10, check={"percent": 100}, purge="manual"))
    run = dsp("run", file, "--json").document["run"]
    assert dsp("repair", run).code == 4
    dsp.target.execute("DELETE FROM t WHERE id IN (12, 13)", "UPDATE t SET id = 35 WHERE id = 31")
    assert dsp("check", file, "--run", run).code == 3
    dsp.target.execute("CREATE TABLE seen (id bigint)")
    dsp.target.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO seen VALUES (NEW.id); RETURN NEW; END $$",
        "CREATE TRIGGER note AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()",
    )
    done = dsp("repair", run, "--json")
    # What only the target has stays, and is told of.
    assert (done.code, done.job["rows_different"]) == (0, 0), done.err
    assert "1 rows that only the target has stay there" in done.err
    # Of a batch that was right nothing is written.
    assert sorted(n for (n,) in dsp.target.rows("SELECT id FROM seen")) == [12, 13, 31]
    # What was purged is not copied again.
    dsp.target.execute("DROP TRIGGER note ON t")
    assert dsp("repair", run).code == 4
    assert dsp("purge", file, "--run", run, "--batches", "1").code == 0
    dsp.target.execute("DELETE FROM t WHERE id IN (3, 25)")
    assert dsp("check", file, "--run", run).code == 3
    refused = dsp("repair", run)
    assert (refused.code, "rows of batch 1 were purged from the source" in refused.err) == (4, True)
    assert dsp.target.value("SELECT count(*) FROM t") == 48
