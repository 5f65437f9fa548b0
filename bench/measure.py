"""Timing programs and our own steps, each in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

MB = 1024 * 1024
PYTHON = Path(sys.executable)


class FailedError(RuntimeError):
    """What was measured did not do its work; the message holds its output's end."""


class PeerError(RuntimeError):
    """Another tool is not installed or did not do its work. The benchmark goes on and says so."""


@dataclass(frozen=True)
class Sample:
    """One timed run.

    ``peak``: bytes of resident memory above those after the imports; ``whole``: those of the
    whole process at its peak; ``server``: CPU seconds of the server's processes meanwhile.
    """

    seconds: float
    cpu: float
    peak: int | None = None
    server: float | None = None
    whole: int | None = None


@dataclass
class Contest:
    """One contestant's runs over the same rows; the median counts, memory at its worst.

    ``failed``: why it could not be measured; it is shown instead of its figures.
    """

    name: str
    rows: int
    samples: list[Sample] = field(default_factory=list)
    failed: str | None = None

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)

    @property
    def seconds(self) -> float:
        return statistics.median(s.seconds for s in self.samples)

    @property
    def spread(self) -> float:
        """From the fastest to the slowest run, as a share of the median."""
        times = [s.seconds for s in self.samples]
        return (max(times) - min(times)) / self.seconds

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """Seconds of the client's CPU; what the server burns is not in it."""
        return statistics.median(s.cpu for s in self.samples) * 1e6 / self.rows

    @property
    def server_per_million(self) -> float | None:
        """Seconds of the server's CPU, source and target together."""
        used = [s.server for s in self.samples if s.server is not None]
        return statistics.median(used) * 1e6 / self.rows if used else None

    @property
    def peak_mb(self) -> float | None:
        peaks = [s.peak for s in self.samples if s.peak is not None]
        return max(peaks) / MB if peaks else None

    @property
    def whole_mb(self) -> float | None:
        """Of the process with all it had imported."""
        peaks = [s.whole for s in self.samples if s.whole is not None]
        return max(peaks) / MB if peaks else None

    def as_json(self) -> dict[str, Any]:
        if self.failed is not None:
            return {"name": self.name, "failed": self.failed}
        server = self.server_per_million
        return {
            "name": self.name,
            "rows": self.rows,
            "seconds": round(self.seconds, 4),
            "spread": round(self.spread, 3),
            "rows_per_second": round(self.rate),
            "cpu_seconds_per_million_rows": round(self.cpu_per_million, 3),
            "server_cpu_seconds_per_million_rows": None if server is None else round(server, 3),
            "peak_mb": None if self.peak_mb is None else round(self.peak_mb, 1),
            "whole_mb": None if self.whole_mb is None else round(self.whole_mb, 1),
            "runs": [
                {"seconds": round(s.seconds, 4), "cpu_seconds": round(s.cpu, 4)}
                for s in self.samples
            ],
        }


@contextlib.contextmanager
def _ended(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Whatever happens, no program outlives its measurement."""
    try:
        yield
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                process.wait()


def programs(*commands: Sequence[str], env: Mapping[str, str] | None = None) -> Sample:
    """A pipeline of programs, from the start of the first to the end of the last."""
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as errors, _ended(processes):
        began = time.perf_counter()
        for number, command in enumerate(commands):
            last = number + 1 == len(commands)
            feed: int | IO[bytes] | None = processes[-1].stdout if processes else subprocess.DEVNULL
            process = subprocess.Popen(
                command,
                stdin=feed,
                stdout=subprocess.DEVNULL if last else subprocess.PIPE,
                stderr=errors,
                env=None if env is None else dict(env),
            )
            if processes and processes[-1].stdout is not None:
                processes[-1].stdout.close()
            processes.append(process)
        cpu = sum(_awaited(process) for process in processes)
        seconds = time.perf_counter() - began
        if any(process.returncode for process in processes):
            errors.seek(0)
            raise FailedError(f"{commands[0][0]}: {errors.read().decode(errors='replace')[-2000:]}")
    return Sample(seconds, cpu)


def _awaited(process: subprocess.Popen[bytes]) -> float:
    """Waits for the end of a program; returns the CPU seconds it used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def step(spec: Mapping[str, Any], env: Mapping[str, str], log: Path) -> tuple[Sample, Any]:
    """One step in a process of its own, which measures it from after its imports."""
    command = [sys.executable, "-m", "bench.worker", json.dumps(spec)]
    processes: list[subprocess.Popen[bytes]] = []
    read, write = os.pipe()
    with _ended(processes), log.open("ab") as output, os.fdopen(read, "rb") as result:
        try:
            process = subprocess.Popen(
                [*command, str(write)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(env),
                pass_fds=[write],
                cwd=Path(__file__).parents[1],
            )
        finally:
            os.close(write)
        processes.append(process)
        text = result.read()
        process.wait()
    if process.returncode or not text:
        raise FailedError(f"{spec}: {log.read_text(errors='replace')[-3000:]}")
    found = json.loads(text)
    sample = Sample(found["seconds"], found["cpu"], found["peak"], whole=found["whole"])
    return sample, found["returned"]


Entry = tuple[Contest, Callable[[], Sample]]


def alternate(rounds: int, entries: Sequence[Entry]) -> None:
    """Every contestant once a round, in turns from the first and from the last on.

    A peer that fails is not tried again.
    """
    for number in range(rounds):
        for contest, act in entries if number % 2 == 0 else reversed(entries):
            if contest.failed is not None:
                continue
            try:
                contest.add(act())
            except PeerError as error:
                contest.failed = str(error)
