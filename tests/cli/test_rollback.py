"""`dsp rollback`: what a run wrote is undone, and done again where that is asked for."""

from __future__ import annotations

from tests.cli.harness import Dsp, job


def rows(dsp: Dsp) -> list[tuple[object, ...]]:
    return sorted(dsp.target.rows("SELECT * FROM t"))


def test_a_run_is_undone_and_done_again(dsp: Dsp) -> None:
    dsp.fill(50)
    file = dsp.write(job(batch_size=20, rollback=True))
    assert "rollback: each of the 50 rows" in dsp("plan", file).out
    run = dsp("run", file, "--json").document["run"]
    written = rows(dsp)
    dsp.target.execute("DELETE FROM t WHERE id = 7")
    done = dsp("rollback", run, "--json")
    assert (done.code, done.err.count("ERROR")) == (0, 0), done.err
    (told,) = done.document["rolled_back"]
    assert (told["removed"], told["restored"], told["kept"]) == (49, 0, 1)
    assert told["rows_kept"] == [
        {"key": ["7"], "inserted": True, "why": "others have deleted it since"}
    ]
    assert rows(dsp) == []
    # Whoever goes on begins anew, though the run was not finished by its own records.
    refused = dsp("check", file, "--run", run)
    assert (refused.code, "was rolled back; nothing works on it any more" in refused.err) == (
        4,
        True,
    )
    assert dsp("rollback", run, "--forget", "--json").code == 0
    assert dsp("rollback", run, "--json").document["rolled_back"] == [told]
    again = dsp("run", file, "--json").document["run"]
    assert (rows(dsp), again != run) == (written, True)
    dsp.source.execute("UPDATE t SET id = id + 100 WHERE id <= 10")
    done = dsp("rollback", again, "--again", "--json")
    assert done.code == 4
    assert "10 rows" in done.err
    assert "may be the last ones" in done.err
    dsp.source.execute("UPDATE t SET id = id - 100 WHERE id > 100")
    done = dsp("rollback", again, "--again", "--json")
    assert done.code == 0, done.err
    assert (done.job["rows_written"], done.document["run"] in (run, again)) == (50, False)
    assert rows(dsp) == written


def test_what_cannot_be_undone(dsp: Dsp) -> None:
    dsp.fill(5)
    run = dsp("run", dsp.write(job()), "--json").document["run"]
    done = dsp("rollback", run)
    assert (done.code, "noted nothing of what it wrote" in done.err) == (4, True)
    assert dsp("rollback", "none").code == 2
    lint = dsp("lint", dsp.write(job(rollback=True, mode="replace")))
    assert (lint.code, "mode: replace drops the old table" in lint.out + lint.err) == (2, True)
