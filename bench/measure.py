"""Timing programs and our own steps, each in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

MB = 1024 * 1024


class FailedError(RuntimeError):
    """What was measured did not do its work; the message holds its output's end."""


@dataclass(frozen=True)
class Sample:
    """One timed run. ``peak``: bytes of resident memory above those after the imports."""

    seconds: float
    cpu: float
    peak: int | None = None


@dataclass
class Contest:
    """One contestant's runs over the same rows; the fastest counts, memory at its worst."""

    name: str
    rows: int
    samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)

    @property
    def best(self) -> Sample:
        return min(self.samples, key=lambda s: s.seconds)

    @property
    def seconds(self) -> float:
        return self.best.seconds

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.best.seconds

    @property
    def cpu_per_million(self) -> float:
        """Seconds of the client's CPU; what the server burns is not in it."""
        return min(s.cpu for s in self.samples) * 1e6 / self.rows

    @property
    def peak_mb(self) -> float | None:
        peaks = [s.peak for s in self.samples if s.peak is not None]
        return max(peaks) / MB if peaks else None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "rows": self.rows,
            "rows_per_second": round(self.rate),
            "cpu_seconds_per_million_rows": round(self.cpu_per_million, 3),
            "peak_mb": None if self.peak_mb is None else round(self.peak_mb, 1),
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
    return Sample(found["seconds"], found["cpu"], found["peak"]), found["returned"]


Entry = tuple[Contest, Callable[[], Sample]]


def alternate(rounds: int, entries: Sequence[Entry]) -> None:
    """Every contestant once a round, in turns from the first and from the last on."""
    for number in range(rounds):
        for contest, act in entries if number % 2 == 0 else reversed(entries):
            contest.add(act())
