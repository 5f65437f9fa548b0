"""Memory depends on what is in flight, not on the table: rows of 1 MB below 256 MiB."""

from __future__ import annotations

import contextlib
import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.engine.errors import Mismatch
from tests.engine.harness import Bench
from tests.faults.work import Address
from tests.mysql.pairs import Pair
from tests.mysql.test_values import pair
from tests.servers import Database, MySQLDatabase
from tests.share import share

__all__ = ["pair"]

ROWS = share(10_000, 300)
MYSQL_ROWS = share(1_000, 200)
OFTEN = [("pg15", "pg15"), ("pg18", "pg18"), ("mariadb", "mariadb"), ("mariadb", "pg18")]
SELDOM = [("mysql", "mysql"), ("mysql", "pg18"), ("pg18", "mariadb"), ("pg18", "mysql")]
WAYS = [
    *(pytest.param(way, id="-".join(way)) for way in OFTEN),
    *(pytest.param(way, id="-".join(way), marks=pytest.mark.soak) for way in SELDOM),
]
LIMIT = 256 * 1024
"""KiB."""
processes = multiprocessing.get_context("spawn")


def everything(folder: Path, source: str, target: str) -> None:
    """The whole run; leaves the process's peak of resident memory in a file."""
    Bench(folder, Address(source), Address(target)).run()
    leave_peak(folder)


def phase(folder: Path, source: str, target: str, name: str) -> None:
    """One phase of the run there is."""
    run = Bench(folder, Address(source), Address(target)).latest()
    with contextlib.suppress(Mismatch):
        getattr(run, name)("copy")
    leave_peak(folder)


def leave_peak(folder: Path) -> None:
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    (folder / "peak").write_text(peak[1])


def fill_large(pair: Pair) -> int:
    """Makes a table of rows of 1 MB; how many they are."""
    if isinstance(pair.source, MySQLDatabase):
        rows, text = MYSQL_ROWS, "LONGTEXT CHARACTER SET utf8mb4"
        made = "REPEAT(MD5(CONCAT(id)), 32768)"
    else:
        rows, text, made = ROWS, "text", "repeat(md5(id::text), 32768)"
    numbers = ", ".join(f"({n})" for n in range(1, rows + 1))
    pair.source.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, v {text})",
        f"INSERT INTO t (id) VALUES {numbers}",
        *(
            f"UPDATE t SET v = {made} WHERE id > {n} AND id <= {n + 100}"
            for n in range(0, rows, 100)
        ),
    )
    return rows


@pytest.mark.share
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("pair", WAYS, indirect=True)
def test_large_rows(pair: Pair) -> None:
    rows = fill_large(pair)
    pair.write(pair.job(check={"percent": 100}, purge="system"))
    assert peak_of(pair, everything) < LIMIT
    job = pair.only()
    assert (job.rows_written, job.rows_checked, job.rows_purged) == (rows, rows, rows)


def peak_of(bench: Bench[Any], work: Callable[..., None], *more: str) -> int:
    """KiB that the work takes at its peak, in a process of its own."""
    process = processes.Process(
        target=work, args=(bench.folder, bench.source.uri, bench.target.uri, *more)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    return int((bench.folder / "peak").read_text())


@pytest.mark.parametrize("name", ["check", "purge"])
def test_large_rows_that_all_differ(bench: Bench[Database], name: str) -> None:
    """Each is named with its columns; at no time are many of them here."""
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n, repeat(md5(n::text), 32768) FROM generate_series(1, 300) n",
    )
    config = bench.job(check={"percent": 100}, purge="manual", batch_size=1000, report_values=True)
    bench.write(config)
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    if name == "purge":
        run.check("copy")
    bench.target.execute("UPDATE t SET v = v || 'x'")
    assert peak_of(bench, phase, name) < LIMIT
    found = run.runs.differences(run.run.id)
    assert len(found) == 300
    assert {d.difference.columns for d in found} == {("v",)}
    job = bench.only()
    assert (job.rows_different, job.rows_kept) == ((300, 0) if name == "check" else (0, 300))
