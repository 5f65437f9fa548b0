"""Other tools, from an environment of their own (scripts/venv-bench), as their users run them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.measure import FailedError, PeerError, Sample
from bench.stage import SOURCE, TARGET, Stage
from bench.tables import TABLE

ROOT = Path(__file__).parents[1]
VENV = ROOT / ".venv-bench"
LIMIT = 1800
"""Seconds after which a peer is given up."""


def program(name: str) -> str:
    """Its path in the peers' environment; raises ``PeerError`` with the reason if it has none."""
    path = VENV / "bin" / name
    if (VENV / ".ready").exists() and path.exists():
        return str(path)
    reason = VENV / ".failed"
    said = reason.read_text().strip()[-300:] if reason.exists() else "run scripts/venv-bench"
    raise PeerError(f"not installed: {' '.join(said.split())}")


def versions() -> dict[str, str]:
    """Of the locked peers, for the record."""
    wanted = ("adbc-driver-postgresql", "connectorx", "dlt", "pyarrow", "reladiff")
    found = {}
    for line in (ROOT / "requirements-bench.lock").read_text().splitlines():
        name, _, version = line.partition("==")
        if name in wanted:
            found[name] = version.split()[0]
    return found


def dlt(stage: Stage, table: str, backend: str, file_format: str, rows: int) -> Sample:
    """``sql_table`` of ``table`` into a data set that is dropped before."""
    python = program("python")
    stage.execute(TARGET, "DROP SCHEMA IF EXISTS dlt_data CASCADE")
    stage.settle()
    uris = [stage.server.uri(SOURCE), stage.server.uri(TARGET)]
    found = json.loads(
        _run(stage, [python, "-m", "bench.peer_dlt", *uris, table, backend, file_format])
    )
    _require(stage, f"dlt_data.{table}", rows)
    stage.execute(TARGET, "DROP SCHEMA dlt_data CASCADE")
    return Sample(found["seconds"], found["cpu"])


def dlt_files(stage: Stage, table: str, folder: Path) -> Sample:
    """``sql_table`` of ``table`` into Parquet files below ``folder``, by its ``filesystem``."""
    python = program("python")
    stage.settle()
    arguments = [stage.server.uri(SOURCE), folder.as_uri(), table, "pyarrow", "parquet"]
    found = json.loads(_run(stage, [python, "-m", "bench.peer_dlt", *arguments]))
    return Sample(found["seconds"], found["cpu"], whole=found["whole"])


def reladiff(stage: Stage) -> Sample:
    """All columns of both tables. Its answer has to count every row, and no difference."""
    sample, different = differences(stage, stage.server.uri(SOURCE), ("%",))
    if different:
        raise PeerError(f"reladiff found {different:,} differences where there are none")
    return sample


def differences(stage: Stage, source: str, columns: Sequence[str]) -> tuple[Sample, int]:
    """These columns of any source and the target; with the differences that it tells of."""
    path = program("reladiff")
    answer = stage.folder / "reladiff.json"
    stage.settle()
    uris = [source, TABLE, stage.server.uri(TARGET), TABLE]
    named = [argument for column in columns for argument in ("-c", column)]
    command = [path, *uris, "-k", "id", *named, "--stats", "--json"]
    try:
        sample = stage.run_programs(
            ["sh", "-c", 'out=$1; shift; exec "$@" >"$out"', "sh", str(answer), *command]
        )
    except FailedError as error:
        raise PeerError(f"reladiff: {error}") from error
    text = " ".join(answer.read_text().split())
    if not text:
        raise PeerError("reladiff gave no answer")
    found = json.loads(text)
    if (found["rows_A"], found["rows_B"]) != (stage.rows, stage.rows):
        raise PeerError(f"reladiff found {found}")
    return sample, int(found["total"])


def _run(stage: Stage, command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env=stage.env,
            cwd=ROOT,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{command[0]} was given up after {LIMIT} s") from error
    if done.returncode:
        raise PeerError(f"{Path(command[0]).name} failed: {done.stderr[-500:]}")
    return done.stdout


def _require(stage: Stage, table: str, rows: int) -> None:
    found = stage.value(TARGET, f"SELECT count(*) FROM {table}")
    if found != rows:
        raise PeerError(f"{found} of {rows} rows arrived")
