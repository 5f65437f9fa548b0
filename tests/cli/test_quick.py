"""What a short command must not pay for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.harness import DSP

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "airflow",
    "alembic",
    "botocore",
    "duckdb",
    "pandas",
    "psycopg",
    "pyarrow",
    "pymongo",
    "rich",
    "sqlalchemy",
    "structlog",
}
SLOW = HEAVY | {"pydantic", "sqlglot", "yaml"}


def imported(*arguments: str) -> set[str]:
    """Top-level names of every module that the command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(DSP), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")},
    )
    assert done.returncode == 0, done.stderr
    names = [
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    ]
    assert "typer" in names
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("arguments", ["--help", "--version"])
def test_help_imports_next_to_nothing(arguments: str) -> None:
    assert not imported(arguments) & SLOW


@pytest.mark.parametrize(
    "command", ["run", "plan", "status", "check-connection", "db", "demo", "archive"]
)
def test_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    assert not imported(command, "--help") & HEAVY


def test_lint_imports_what_reads_files_only() -> None:
    names = imported("lint", "dags/tasks")
    assert not names & HEAVY
    assert "sqlglot" in names


def test_lint_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: a b\njobs: []\n")
    (tmp_path / "worse.yaml").write_text("nam: x\n")
    done = subprocess.run(
        [str(DSP), "lint", str(tmp_path), "dags/tasks/users_to_analytics.yaml"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert f"{tmp_path}/bad.yaml:1:" in done.stderr
    assert f"{tmp_path}/worse.yaml:1:1" in done.stderr
    assert done.stdout.startswith("3 task files, ")
