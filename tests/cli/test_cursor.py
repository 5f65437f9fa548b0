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
