"""Where the state database is: the setting ``[dsp] sql_alchemy_conn``."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.state.settings import airflow_home, setting, variable

OPTION = "sql_alchemy_conn"
SETTING = variable(OPTION)


def state_url(url: str | None = None) -> URL:
    """The state database's URL, normalised; the setting when none is given."""
    return normalised(url or setting(OPTION) or f"sqlite:///{airflow_home() / 'dsp.db'}")


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
