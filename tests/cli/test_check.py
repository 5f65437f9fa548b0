"""`dsp check`: comparing once more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.harness import Dsp, job


def copied(dsp: Dsp, **more: Any) -> str:
    dsp.fill(1000)
    file = dsp.write(job(batch_size=100, **more))
    done = dsp("run", file, "--quiet")
    assert done.code == 0, done.err
    return file


def test_a_planted_difference_is_named(dsp_on_each: Dsp) -> None:
    dsp = dsp_on_each
    file = copied(dsp)
    assert dsp("check", file, "--percent", "100").code == 0
    dsp.target.execute("UPDATE t SET name = name || ' ' WHERE id = 500")
    done = dsp("check", file, "--percent", "100", "--json")
    assert done.code == 3, done.err
    assert done.document["state"] == "failed"
    assert (done.job["rows_different"], done.job["rows_checked"]) == (1, 1000)
    assert "changed 500 (name)" in done.err
    shown = dsp("status", done.document["run"], "--differences", "--json").document
    (found,) = shown["differences"]
    assert (found["kind"], found["key"], found["columns"]) == ("changed", ["500"], ["name"])
    assert "Differences (1)" in dsp("status", "--task", "task", "--differences").out

    dsp.target.execute("UPDATE t SET name = 'name 500' WHERE id = 500")
    assert dsp("check", file, "--percent", "100").code == 0


def test_the_share_of_the_file_is_the_default(dsp: Dsp) -> None:
    done = dsp("check", copied(dsp, check={"percent": 30}), "--json")
    assert (done.code, done.job["rows_checked"]) == (0, 300)
    done = dsp("check", "task.yaml", "--json", "--percent", "50")
    assert (done.code, done.job["rows_checked"]) == (0, 500)


def test_a_job_without_check_is_compared_whole(dsp: Dsp) -> None:
    file = copied(dsp, check="none")
    assert dsp("check", file, "--json").job["rows_checked"] == 1000
    dsp.target.execute("DELETE FROM t WHERE id = 7")
    assert dsp("check", file).code == 3


def test_what_was_never_copied_is_refused(dsp: Dsp) -> None:
    dsp.fill(10)
    file = dsp.write(job(), job("other", target={"table": "other"}))
    assert dsp("run", file, "--job", "copy").code == 0
    done = dsp("check", file, "--json")
    assert done.code == 4
    assert "other" in done.err
    assert done.document["jobs"][0]["rows_checked"] == 10


def test_a_run_of_another_task_is_refused(dsp: Dsp) -> None:
    copied(dsp)
    other = dsp.write(job(), file="other.yaml", name="other")
    run = dsp("status", "--json").document["runs"][0]["run"]
    done = dsp("check", other, "--run", run)
    assert done.code == 2
    assert run in done.err


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(dsp: Dsp, rows: int) -> None:
    dsp.fill(rows)
    file = dsp.write(job())
    assert dsp("run", file, "--json").job["rows_total"] == rows
    assert dsp("check", file).code == 0
