"""Settings of this package, by Airflow's own rules.

Importing Airflow costs seconds of CPU, so its configuration object is asked only where
somebody has imported it already; otherwise the same sources are read here in the same order.
"""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from dsp_airflow.engine.errors import ConfigError

COMMAND_SECONDS = 60
_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
"""As Airflow reads truth values."""


def setting(option: str, section: str = "dsp") -> str | None:
    """The value of ``[section] option``; ``None`` where it is not set, or is empty."""
    name = variable(option, section)
    value = os.environ.get(name)
    if value:
        return _expand(value)
    command = os.environ.get(f"{name}_CMD")
    if command:
        return _output(_expand(command), name)
    airflow = sys.modules.get("airflow.configuration")
    conf: Any = getattr(airflow, "conf", None)
    if conf is not None:
        return str(conf.get(section, option, fallback="") or "") or None
    return _from_file(option, section)


def truth(option: str, *, default: bool) -> bool:
    """A setting of ``[dsp]`` that is true or false; ``ConfigError`` for anything else."""
    text = setting(option)
    if text is None:
        return default
    found = _TRUTH.get(text.strip().lower())
    if found is None:
        raise ConfigError(f"{variable(option)} is {text!r}; it must be true or false")
    return found


def variable(option: str, section: str = "dsp") -> str:
    """The environment variable that sets it."""
    return f"AIRFLOW__{section}__{option}".upper()


def airflow_home() -> Path:
    """AIRFLOW_HOME, or ~/airflow."""
    return Path(_expand(os.environ.get("AIRFLOW_HOME") or "~/airflow"))


def _from_file(option: str, section: str) -> str | None:
    configured = os.environ.get("AIRFLOW_CONFIG")
    path = Path(_expand(configured)) if configured else airflow_home() / "airflow.cfg"
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        # Not chained: the message quotes lines of the file, which may hold secrets.
        raise ConfigError(f"{path} is not a readable Airflow configuration") from None
    value = parser.get(section, option, fallback="").replace("%%", "%")
    if value:
        return _expand(value)
    command = parser.get(section, f"{option}_cmd", fallback="").replace("%%", "%")
    return _output(_expand(command), variable(option, section)) if command else None


def _expand(value: str) -> str:
    """Airflow expands ``~`` and ``$NAME`` in settings until nothing changes."""
    while True:
        expanded = os.path.expandvars(Path(value).expanduser() if value[:1] == "~" else value)
        if expanded == value:
            return str(value)
        value = str(expanded)


def _output(command: str, name: str) -> str:
    try:
        done = subprocess.run(
            shlex.split(command),
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{name}_CMD could not be run: {type(error).__name__}") from None
    value = done.stdout.strip()
    if done.returncode != 0 or not value:
        raise ConfigError(f"{name}_CMD ended with code {done.returncode} and gave no value")
    return value
