"""`dsp terminate`: a run ends at the edge of its batches, wherever it works."""

from __future__ import annotations

import re

from tests.cli.harness import Dsp, job


def test_a_running_command_stops_and_goes_on_later(dsp: Dsp) -> None:
    dsp.fill(300)
    file = dsp.write(job(batch_size=100, workers=2, limits={"rows_per_second": 1}))
    running = dsp.start("run", file, "--json")
    running.wait_for("is held to 1 rows/s")
    told = dsp("terminate", "task", "--reason", "too loud", "--json").document
    assert (told["state"], told["reason"]) == ("running", "too loud")
    ended = running.end()
    assert (ended.code, ended.document["state"]) == (1, "terminated")
    asked = f"{told['asked_by']} asked it to stop: too loud"
    assert f"stopped at a batch edge: {asked}; run it again to go on" in ended.job["error"]
    run = str(told["run"])
    assert f"Terminated: {asked}" in dsp("status", run).out
    assert dsp("status", run, "--json").document["stop"]["asked_by"] == told["asked_by"]
    again = dsp("terminate", run)
    assert (again.code, "has ended already: it terminated" in again.err) == (4, True)

    dsp.write(job(batch_size=100, workers=2, limits={"rows_per_second": 1000}))
    done = dsp("run", file, "--json")
    assert (done.code, done.document["run"]) == (0, run), done.err
    assert dsp.target.value("SELECT count(*) FROM t") == 300


def test_a_run_that_nobody_works_on_ends_at_once(dsp: Dsp) -> None:
    """Its process was killed a while ago."""
    dsp.fill(200)
    file = dsp.write(job(batch_size=100, limits={"rows_per_second": 1}))
    running = dsp.start("run", file)
    running.wait_for("is held to")
    running.process.kill()
    running.end()
    dsp.execute_state("UPDATE jobs SET seen_at = '2026-01-01 00:00:00.000000'")
    run = re.findall(r"\d{8}T\d{6}-\w{6}", dsp("status").out)[0]
    assert "copy: nobody has worked on it since 2026-01-01 00:00:00 UTC" in dsp("status", run).out
    assert (
        f"Run {run} of task task has ended: nobody was working on it" in dsp("terminate", run).out
    )
    assert dsp("status", run, "--json").document["state"] == "terminated"
    assert "neither a run nor a task" in dsp("terminate", "nothing").err


def test_a_run_outside_of_its_window_says_so(dsp: Dsp) -> None:
    dsp.fill(10)
    # Not at this hour, whichever it is.
    file = dsp.write(job(limits={"window": dsp.shut()}))
    running = dsp.start("run", file, "--json")
    running.wait_for("waits before its next batch: limits.window is")
    run = re.findall(r"\d{8}T\d{6}-\w{6}", dsp("status").out)[0]
    assert re.search(r"copy: waiting for the window until .*\d\d:\d\d UTC", dsp("status", run).out)
    [note] = dsp("status", run, "--json").document["notes"]
    assert note["job"] == "copy"
    dsp("terminate", run)
    assert running.end().document["state"] == "terminated"
