"""The command in processes of their own, which begin with the libraries loaded already.

To import them is most of what a short command costs. One process per test session imports all that
the command does, except Airflow and what depends on the environment, and forks for each call.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

FRESH = ("airflow", "dsp_airflow", "__main__", "__mp_main__")
"""Packages that read the environment when they are imported, or that are what is tested."""
ROOT = Path(__file__).resolve().parents[2]


class Forks:
    """Runs the command: the caller's end of a process that forks."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def run(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], seconds: int
    ) -> tuple[int, str, str]:
        """Exit code and what was written to the two outputs."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
            call = {
                "arguments": list(arguments),
                "cwd": str(cwd),
                "env": dict(env),
                "out": out.name,
                "err": err.name,
                "seconds": seconds,
            }
            self._server.stdin.write(json.dumps(call) + "\n")
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            return code, out.read().decode(), err.read().decode()

    def close(self) -> None:
        """Ends the process."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _serve() -> None:
    _load()
    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(call)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _load() -> None:
    """Imports what a command that opens a connection has imported at its end."""
    code = (
        "import sys\n"
        "from airflow.sdk import BaseHook\n"
        "import dsp_airflow.cli.app, dsp_airflow.connections, dsp_airflow.steps\n"
        "import adbc_driver_postgresql.dbapi, alembic.command, boto3, duckdb, MySQLdb, psycopg\n"
        "import pyarrow.csv, pyarrow.parquet, pymongo, rich.table\n"
        "print(*sys.modules)"
    )
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "AIRFLOW_HOME": home},
        )
    for name in done.stdout.splitlines()[-1].split():
        if name.partition(".")[0] not in FRESH:
            _import(name)
    assert not [name for name in sys.modules if name.partition(".")[0] in ("airflow",)]


def _import(name: str) -> None:
    with warnings.catch_warnings(action="ignore"):
        try:
            importlib.import_module(name)
        except ImportError:
            return  # Made while another one was imported; it will be again.


def _become(call: Mapping[str, Any]) -> NoReturn:
    """Turns this process into the command."""
    resource.setrlimit(resource.RLIMIT_CPU, (call["seconds"], call["seconds"]))
    os.chdir(call["cwd"])
    os.environ.clear()
    os.environ.update(call["env"])
    for number, path in ((0, os.devnull), (1, call["out"]), (2, call["err"])):
        os.dup2(os.open(path, os.O_RDWR), number)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        for number, mode, errors in ((0, "r", None), (1, "w", None), (2, "w", "backslashreplace"))
    )
    sys.argv = ["dsp", *call["arguments"]]
    tempfile.tempdir = None  # TMPDIR may be another one now.
    from dsp_airflow.cli.main import main

    code = 1
    try:
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
