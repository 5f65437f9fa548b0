"""Runs the benchmarks and prints their findings. Nothing here fails because something is slow."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from bench import peers, tables
from bench.archiving import measure_archive
from bench.checking import measure_check
from bench.copying import measure_copy
from bench.fixed import measure_fixed
from bench.large import ROWS as LARGE_ROWS
from bench.large import measure_large
from bench.ledger import BATCHES, QUICK_BATCHES, measure_ledger
from bench.measure import FailedError
from bench.mongodb import measure_mongodb
from bench.mysql import measure_mysql
from bench.noting import measure_rollback
from bench.purging import measure_purge
from bench.report import Report
from bench.stage import SETTINGS, SOURCE, Stage, stage
from dsp_airflow.demo.process import ServerError

ROWS, QUICK_ROWS, QUICK_LARGE_ROWS = 2_000_000, 100_000, 50
LEGS = (
    *("copy", "check", "purge", "large", "archive", "mysql", "mongodb", "rollback"),
    *("fixed", "ledger"),
)
DOCS = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    screen = Console(stderr=True)
    rows = options.rows or (QUICK_ROWS if options.quick else ROWS)
    report = Report()
    load = os.getloadavg()[0]
    try:
        with (
            stage(rows, options.rounds, fsync=options.fsync) as place,
            screen.status("PostgreSQL is ready") as status,
        ):
            machine = _machine(place, load)
            _fill(place, options.legs, status.update)
            _measure(place, report, options, status.update)
    except (FailedError, ServerError) as error:
        screen.print(f"[red]{type(error).__name__}[/]:", end=" ")
        screen.print(str(error), markup=False, highlight=False)
        return 1
    Console(width=None if sys.stdout.isatty() else 150).print(report.table(_caption(machine)))
    for reason in report.reasons():
        print(f"- {reason}")
    if options.json:
        found = {
            "machine": machine,
            "settings": SETTINGS | {"fsync": machine["fsync"]},
            "findings": [finding.as_json() for finding in report.findings],
            "runs": {k: [c.as_json() for c in v] for k, v in report.contests.items()},
        }
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.docs:
        _document(report.markdown(_caption(machine)))
    return 0


def _document(table: str) -> None:
    head, _, rest = DOCS.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    DOCS.write_text(f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}")


def _fill(place: Stage, legs: Sequence[str], say: Callable[[str], None]) -> None:
    if set(legs) <= {"large", "fixed", "ledger"}:
        return
    say(f"filling the table with {place.rows:,} rows")
    place.execute(SOURCE, tables.create())
    place.execute(SOURCE, tables.fill(place.rows))


def _measure(
    place: Stage, report: Report, options: argparse.Namespace, say: Callable[[str], None]
) -> None:
    large_rows = QUICK_LARGE_ROWS if options.quick else LARGE_ROWS
    legs: dict[str, Callable[[], None]] = {
        "copy": lambda: measure_copy(place, report),
        "check": lambda: measure_check(place, report),
        "purge": lambda: measure_purge(place, report),
        "large": lambda: measure_large(place, report, large_rows),
        "archive": lambda: measure_archive(place, report, large_rows),
        "mysql": lambda: measure_mysql(place, report),
        "mongodb": lambda: measure_mongodb(place, report),
        "rollback": lambda: measure_rollback(place, report),
        "fixed": lambda: measure_fixed(place, report),
        "ledger": lambda: measure_ledger(
            place, report, QUICK_BATCHES if options.quick else BATCHES
        ),
    }
    for name in LEGS:
        if name in options.legs:
            say(f"measuring {name}")
            legs[name]()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=int, help=f"rows of the table ({ROWS:,})")
    parser.add_argument(
        "--legs", type=_legs, default=LEGS, help=f"which to measure ({','.join(LEGS)})"
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contestant (3)")
    parser.add_argument("--quick", action="store_true", help="few rows: does everything work?")
    parser.add_argument("--fsync", action="store_true", help="the server flushes its commits")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--docs", action="store_true", help="replace the table of docs/performance.md"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1 or (options.rows is not None and options.rows < 1):
        parser.error("rows and rounds start at 1")
    return options


def _legs(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    unknown = [name for name in names if name not in LEGS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no leg {unknown[0]!r}; there are {', '.join(LEGS)}")
    return names


def _machine(place: Stage, load: float) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "python": platform.python_version(),
        "postgresql": place.value(SOURCE, "SHOW server_version"),
        "fsync": place.value(SOURCE, "SHOW fsync"),
        "rows": place.rows,
        "rounds": place.rounds,
        "peers": peers.versions(),
    }


def _caption(machine: dict[str, Any]) -> str:
    return (
        f"{machine['rows']:,} rows, median of {machine['rounds']}; {machine['cores']} cores shared "
        f"by client and server, load {machine['load_before']} before; PostgreSQL "
        f"{machine['postgresql']}, Python {machine['python']}, "
        f"fsync {machine['fsync']}. Ratio above 1: ours is better."
        " CPU-s/M: seconds of our process per million rows; of the server's processes for the same"
        " step. Peak MB: above its imports. Spread: slowest less fastest run, of the median; the"
        " larger of both. Peers: "
        + ", ".join(f"{name} {version}" for name, version in machine["peers"].items())
        + "."
    )


def _terminated(_number: int, _frame: FrameType | None) -> None:
    """Ends in order, so that the server is stopped."""
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
