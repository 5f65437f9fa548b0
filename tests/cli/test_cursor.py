"""`dsp cursor`: where incremental jobs stand."""

from __future__ import annotations

from typing import Any

from tests.cli.harness import Dsp, job


def incremental(dsp: Dsp, **more: Any) -> str:
    dsp.fill(100)
    dsp.source.execute("ALTER TABLE t ADD COLUMN moved int", "UPDATE t SET moved = id")
    return dsp.write(job(mode="incremental", cursor={"column": "moved"}, **more))


def where(dsp: Dsp, file: str, *more: str) -> dict[str, Any]:
    done = dsp("cursor", file, "--json", *more)
    assert done.code == 0, done.err
    (found,) = done.document["cursors"]
    return dict(found)


def test_it_is_shown_set_and_reset(dsp: Dsp) -> None:
    file = incremental(dsp)
    assert where(dsp, file)["value"] is None
    assert "the next run copies everything" in dsp("cursor", file).out
    first = dsp("run", file, "--json")
    assert first.job["rows_written"] == 100
    found = where(dsp, file)
    assert (found["value"], found["run"]) == ("100", first.document["run"])
    assert "moved by" in dsp("cursor", file).out
    assert dsp("run", file, "--new", "--json").job["rows_total"] == 1
    planned = dsp("plan", file, "--json").document["jobs"][0]
    assert "'100'" in str(planned)

    assert where(dsp, file, "--set", "090")["value"] == "90"
    assert dsp("run", file, "--new", "--json").job["rows_total"] == 11
    assert where(dsp, file, "--reset")["value"] is None
    assert dsp("run", file, "--new", "--json").job["rows_total"] == 100


def test_what_cannot_be(dsp: Dsp) -> None:
    file = incremental(dsp)
    wrong = dsp("cursor", file, "--set", "yesterday")
    assert wrong.code != 0
    assert "yesterday" in wrong.err
    assert "Traceback" not in wrong.err
    both = dsp("cursor", file, "--set", "1", "--reset")
    assert both.code == 2
    assert "not both" in both.err


def test_an_unfinished_run_would_move_it_again(dsp: Dsp) -> None:
    file = incremental(dsp)
    dsp.target.execute("CREATE TABLE t (id bigint PRIMARY KEY)")
    assert dsp("run", file).code == 2
    refused = dsp("cursor", file, "--reset")
    assert refused.code == 4
    assert "is unfinished" in refused.err


def test_a_task_without_incremental_jobs(dsp: Dsp) -> None:
    plain = dsp.write(job())
    none = dsp("cursor", plain)
    assert none.code == 2
    assert "no incremental job" in none.err


def test_steps_are_shown_set_and_reset(dsp: Dsp) -> None:
    dsp.fill(100)
    file = dsp.write(job(mode="step", step={"column": "id", "start": 1, "size": 30}))
    assert "none is through yet" in dsp("cursor", file).out
    planned = dsp("plan", file)
    assert "id >= 1 and < 31" in planned.out
    assert "id >= 31 and < 61" in planned.out
    done = dsp("run", file, "--json")
    assert done.job["rows_written"] == 30
    assert "[INFO] Job copy: this step: id >= 1 and < 31" in done.err
    assert "[INFO] Job copy: the next step: id >= 31 and < 61" in done.err
    found = where(dsp, file)
    assert (found["mode"], found["value"], found["run"]) == ("step", "31", done.document["run"])
    status = dsp("status", done.document["run"])
    assert "step id >= 1 and < 31; next: id >= 31 and < 61" in status.out
    assert where(dsp, file, "--set", "71")["value"] == "71"
    status = dsp("status", done.document["run"])
    assert "next: the one that begins at 71" in status.out
    waiting = dsp("run", file, "--new", "--json")
    assert (waiting.code, waiting.job["state"], waiting.job["rows_total"]) == (0, "succeeded", 0)
    assert "nothing to do: the next step, id >= 71 and < 101, waits" in waiting.err
    assert "it waits: no row has reached 101" in " ".join(dsp("plan", file).out.split())
    wrong = dsp("cursor", file, "--set", "soon")
    assert (wrong.code, "'soon' is no number; give one such as 1" in wrong.err) == (2, True)
    assert where(dsp, file, "--reset")["value"] is None
    assert dsp("run", file, "--new", "--json").job["rows_total"] == 30
