"""Where our own CPU goes: each step under py-spy.

`python -m bench.profile` prints, for plan, copy, check and purge, the parts of the samples by
where the time is spent: in which function of ours, or in what it called. With `--archive` the
job is one to S3. Threads of ours count beside the one that executes the step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import peers, tables
from bench.archiving import served
from bench.measure import FailedError
from bench.stage import ARCHIVE, DAG, JOB, SOURCE, Stage, Task, stage
from tests.servers.s3 import fresh_bucket

STEPS = ("plan", "copy", "check", "purge")
ARCHIVE_STEPS = ("plan", "archive", "check", "purge")
FORMATS = ("parquet", "csv", "jsonl")
RATE = 200
TOP = 12


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000, help="rows of the table (500,000)")
    parser.add_argument("--batch-size", type=int, help="rows of a batch (the default of a job)")
    parser.add_argument("--archive", choices=FORMATS, help="into files of this format on S3")
    options = parser.parse_args(arguments)
    with stage(options.rows, 1) as place:
        place.execute(SOURCE, tables.create())
        place.execute(SOURCE, tables.fill(options.rows))
        place.settle()
        job: dict[str, Any] = {"check": {"percent": 100}, "purge": "system"}
        if options.batch_size is not None:
            job["batch_size"] = options.batch_size
        if options.archive is None:
            _print(place, place.task(**job), STEPS, {})
            return 0
        with served(place) as server:
            bucket = fresh_bucket(server).name
            task = place.archive_task(bucket, file_format=options.archive, **job)
            _print(place, task, ARCHIVE_STEPS, {"s3": ARCHIVE})
    return 0


def _print(place: Stage, task: Task, steps: Sequence[str], more: Mapping[str, str]) -> None:
    for step in steps:
        found = _profiled(place, task, step, more)
        total = sum(found.values())
        print(f"\n{step}: {total:,} samples of {RATE} a second")
        for counted in (_by_part(found), found):
            print("    by part" if counted is not found else "    by line")
            for where, count in counted.most_common(TOP):
                print(f"{count / total:6.1%}  {where}")


def _by_part(found: Counter[str]) -> Counter[str]:
    """The same by file of ours."""
    parts: Counter[str] = Counter()
    for where, count in found.items():
        parts[where.partition("(")[2].partition(":")[0]] += count
    return parts


def _profiled(place: Stage, task: Task, step: str, more: Mapping[str, str]) -> Counter[str]:
    """Samples by our line, and the Python function it called; the imports left out."""
    spec = {"step": step, "file": str(task.file), "job": JOB, "run": task.run, **more}
    raw = place.folder / f"{step}.txt"
    command = [
        *(peers.program("py-spy"), "record", "--format", "raw", "--rate", str(RATE)),
        *("--nonblocking", "--output", str(raw), "--", sys.executable, "-m", "bench.worker"),
        *(json.dumps({"connections": [SOURCE], "dag": DAG, **spec}), "1"),
    ]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=place.env, cwd=root
    )
    if not raw.exists():
        raise FailedError(f"py-spy: {done.stderr[-2000:]}")
    found: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        executing = [n for n, frame in enumerate(frames) if frame.startswith("main (bench/worker")]
        inside = frames[executing[0] + 1 :] if executing else frames
        if not executing and not frames[0].startswith("_bootstrap (threading"):
            continue
        if not any("dsp_airflow" in frame for frame in inside):
            continue
        if any(frame.startswith("open_store") for frame in inside[:1]):
            continue
        ours = next(frame for frame in reversed(inside) if "dsp_airflow" in frame)
        leaf = "" if ours == inside[-1] else f", in {inside[-1].split(':')[0]})"
        found[ours + leaf] += int(count)
    return found


if __name__ == "__main__":
    sys.exit(main())
