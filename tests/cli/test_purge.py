"""`dsp purge`: deletion by hand."""

from __future__ import annotations

import os
import pty
import subprocess
from typing import Any

import pytest

from tests.cli.harness import DSP, Dsp, job


def copied(dsp: Dsp, **more: Any) -> str:
    dsp.fill(1000)
    file = dsp.write(job(batch_size=100, purge="manual", **more))
    assert dsp("run", file, "--quiet").code == 0
    return file


def left(dsp: Dsp) -> int:
    found: int = dsp.source.value("SELECT count(*) FROM t")
    return found


def test_by_batch_number(dsp_on_each: Dsp) -> None:
    dsp = dsp_on_each
    file = copied(dsp)
    done = dsp("purge", file, "--batches", "1-3", "--json")
    assert done.code == 0, done.err
    assert (done.job["rows_purged"], left(dsp)) == (300, 700)
    assert dsp.source.value("SELECT min(id) FROM t") == 301
    done = dsp("purge", file, "--batches", "3,5", "--yes", "--json")
    assert (done.code, done.job["rows_purged"], left(dsp)) == (0, 400, 600)
    done = dsp("purge", file, "--batches", "all", "--json")
    assert (done.code, done.job["rows_purged"], left(dsp)) == (0, 1000, 0)


def test_a_batch_that_is_not_there(dsp: Dsp) -> None:
    file = copied(dsp)
    done = dsp("purge", file, "--batches", "9-11", "--json")
    assert done.code == 2
    assert "1 to 10" in done.err
    assert left(dsp) == 1000
    assert done.job["state"] == "succeeded"


def test_rows_that_stay_are_refused(dsp: Dsp) -> None:
    dsp.fill(100)
    file = dsp.write(job())
    assert dsp("run", file, "--quiet").code == 0
    done = dsp("purge", file, "--batches", "all", "--json")
    assert done.code == 4
    assert "purge: none" in done.err
    assert left(dsp) == 100


def test_numbers_need_one_job(dsp: Dsp) -> None:
    dsp.fill(100)
    file = dsp.write(
        job("a", target={"table": "a"}, purge="manual"),
        job("b", target={"table": "b"}, purge="manual"),
    )
    assert dsp("run", file, "--quiet").code == 0
    done = dsp("purge", file, "--batches", "1")
    assert done.code == 2
    assert "--job" in done.err
    assert dsp("purge", file, "--batches", "1", "--job", "b").code == 0
    assert left(dsp) == 0


def test_refused_while_rows_differ(dsp: Dsp) -> None:
    file = copied(dsp)
    dsp.target.execute("UPDATE t SET amount = 0 WHERE id = 3")
    assert dsp("check", file, "--percent", "100").code == 3
    done = dsp("purge", file, "--batches", "all", "--json")
    assert done.code == 4
    assert left(dsp) == 1000


@pytest.mark.parametrize(("answer", "code", "rows"), [("n", 4, 1000), ("y", 0, 900)])
def test_asked_once_on_a_terminal(dsp: Dsp, answer: str, code: int, rows: int) -> None:
    file = copied(dsp)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [str(DSP), "purge", file, "--batches", "1"],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
        cwd=dsp.folder,
        env=dsp.environment(),
    )
    os.close(slave)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(master, 1000)
    text = shown.decode()
    assert "up to 100 rows" in text
    assert "of t in source" in text
    os.write(master, f"{answer}\n".encode())
    while True:
        try:
            if not os.read(master, 1000):
                break
        except OSError:
            break
    assert process.stdout is not None
    process.stdout.read()
    process.stdout.close()
    os.close(master)
    assert process.wait(60) == code
    assert left(dsp) == rows
