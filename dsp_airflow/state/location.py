"""Where the state database is: the setting ``[dsp] sql_alchemy_conn``, by Airflow's own rules.

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

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from dsp_airflow.engine.errors import ConfigError

SETTING = "AIRFLOW__DSP__SQL_ALCHEMY_CONN"
COMMAND_SECONDS = 60


def state_url(url: str | None = None) -> URL:
    """The state database's URL, normalised; the setting when none is given."""
    return normalised(url or _configured() or f"sqlite:///{airflow_home() / 'dsp.db'}")


def airflow_home() -> Path:
    """AIRFLOW_HOME, or ~/airflow."""
    return Path(_expand(os.environ.get("AIRFLOW_HOME") or "~/airflow"))


def normalised(text: str) -> URL:
    """An SQLAlchemy URL of a system that is supported, with the driver that is installed."""
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        # Not chained: the library's message may quote the password.
        raise ConfigError(
            f"{SETTING} is not a database URL; write sqlite:////path/dsp.db"
            " or postgresql://user:password@host/database"
        ) from None
    if url.drivername in {"postgres", "postgresql", "postgresql+psycopg2"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername == "postgresql+psycopg":
        if "@" in (url.host or ""):
            raise ConfigError(f"{SETTING}: write an @ inside the user or password as %40")
        return url
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        return _sqlite(url)
    raise ConfigError(
        f"{SETTING}: {url.drivername} cannot hold the state; use sqlite or postgresql"
    )


def _sqlite(url: URL) -> URL:
    if not url.database or url.database == ":memory:" or url.query:
        raise ConfigError(
            f"{SETTING}: the SQLite state must be a plain file shared by all processes,"
            " such as sqlite:////var/lib/airflow/dsp.db"
        )
    path = Path(url.database).expanduser().absolute()
    return url.set(drivername="sqlite", database=str(path))


def label(url: URL) -> str:
    """Names the database in messages: no user, no password, no options."""
    if url.drivername == "sqlite":
        return f"the state database {url.database}"
    host = f"{url.host or 'localhost'}:{url.port or 5432}"
    return f"the state database {host}/{url.database or ''}"


def _configured() -> str | None:
    command = os.environ.get(f"{SETTING}_CMD")
    if command and not os.environ.get(SETTING):
        return _output(_expand(command))
    value = setting("dsp", "sql_alchemy_conn")
    if value:
        return value
    command = _in_file("dsp", "sql_alchemy_conn_cmd")
    return _output(command) if command else None


def setting(section: str, key: str) -> str | None:
    """A setting of Airflow; ``None`` where nobody has set it. Runs no command to find out."""
    value = os.environ.get(f"AIRFLOW__{section}__{key}".upper())
    if value:
        return _expand(value)
    airflow = sys.modules.get("airflow.configuration")
    conf: Any = getattr(airflow, "conf", None)
    if conf is not None:
        return str(conf.get(section, key, fallback="") or "") or None
    return _in_file(section, key)


def _in_file(section: str, key: str) -> str | None:
    configured = os.environ.get("AIRFLOW_CONFIG")
    path = Path(_expand(configured)) if configured else airflow_home() / "airflow.cfg"
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        # Not chained: the message quotes lines of the file, which may hold secrets.
        raise ConfigError(f"{path} is not a readable Airflow configuration") from None
    value = parser.get(section, key, fallback="").replace("%%", "%")
    return _expand(value) if value else None


def _expand(value: str) -> str:
    """Airflow expands ``~`` and ``$NAME`` in settings until nothing changes."""
    while True:
        expanded = os.path.expandvars(Path(value).expanduser() if value[:1] == "~" else value)
        if expanded == value:
            return str(value)
        value = str(expanded)


def _output(command: str) -> str:
    try:
        done = subprocess.run(
            shlex.split(command),
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{SETTING}_CMD could not be run: {type(error).__name__}") from None
    value = done.stdout.strip()
    if done.returncode != 0 or not value:
        raise ConfigError(
            f"{SETTING}_CMD ended with code {done.returncode} and gave no database URL"
        )
    return value
