"""`dsp limits`: what a run is held to, changed while it works."""

from __future__ import annotations

from typing import Any

from tests.cli.harness import Dsp, job


def test_a_running_job_follows(dsp: Dsp) -> None:
    dsp.fill(300)
    file = dsp.write(job(batch_size=100, limits={"rows_per_second": 1}))
    running = dsp.start("run", file, "--json")
    running.wait_for("is held to 1 rows/s")
    told = dsp("limits", "task", "--rows-per-second", "1000000").out
    assert "Limits of every job changed by" in told
    done = running.end()
    assert (done.code, done.document["jobs"][0]["rows_written"]) == (0, 300), done.err
    run = str(done.document["run"])
    assert "limits are now 1,000,000 rows/s" in done.err
    assert "rows_per_second 1000000" in dsp("status", run).out
    (change,) = dsp("status", run, "--json").document["limits"]
    assert change["limits"] == {"rows_per_second": 1_000_000}
    assert change["changed_by"]


def test_values_are_those_of_a_task_file(dsp: Dsp) -> None:
    dsp.fill(10)
    file = dsp.write(job(limits={"window": "00:00-23:59", "bytes_per_second": "1GiB"}))
    run = dsp("run", file, "--json").document["run"]

    def limits(*arguments: str) -> Any:
        done = dsp("limits", str(run), "--json", *arguments)
        assert done.code == 0, done.err
        return done.document

    (found,) = limits()["limits"]
    assert found == {
        "job": "copy",
        "rows_per_second": None,
        "bytes_per_second": 1024**3,
        "window": "00:00-23:59 UTC",
    }
    more = ("--bytes-per-second", "2MiB", "--window", "22:00-06:00 Europe/Vienna")
    found = limits("--job", "copy", *more)
    assert found["limits"][0]["bytes_per_second"] == 2 * 1024**2
    assert found["limits"][0]["window"] == "22:00-06:00 Europe/Vienna"
    assert found["changes"][0]["job"] == "copy"
    assert limits("--window", "none", "--job", "copy")["limits"][0]["window"] is None
    assert limits("--clear")["limits"][0]["window"] == "00:00-23:59 UTC"
    assert "as in the task file" in dsp("limits", str(run)).out

    for arguments, why in (
        (["--rows-per-second", "0"], "--rows-per-second '0'"),
        (["--bytes-per-second", "fast"], "must be a size"),
        (["--window", "night"], "--window 'night': must be two times of the day"),
        (["--job", "other", "--clear"], "no job 'other'; it has copy"),
        (["--clear", "--window", "none"], "not both"),
    ):
        done = dsp("limits", str(run), *arguments)
        assert (done.code, why in done.err) == (2, True), done.err
    assert "neither a run nor a task" in dsp("limits", "nothing").err
