"""The schema's versions: which one a database has, and bringing it up to date."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

REVISIONS = (
    *("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011"),
    *("0012", "0013", "0014", "0015", "0016"),
)
"""Oldest first; one file of `migrations/versions` each. Known without loading Alembic."""
HEAD = REVISIONS[-1]
VERSION_TABLE = "dsp_version"
_LOCK = 7_203_911_442
"""PostgreSQL's advisory lock of all migrations of this package."""


def version(connection: Connection) -> str | None:
    """The revision that the database has; ``None`` when it has no tables of ours yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    query = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
    found = connection.execute(query).scalar()
    return None if found is None else str(found)


def is_behind(current: str | None) -> bool:
    """Whether a migration would help."""
    return current is None or (current in REVISIONS and current != HEAD)


def problem(current: str | None) -> str | None:
    """What is wrong with this revision, to follow the database's name; ``None``: nothing."""
    if current is None:
        return "has no tables yet, or none that its login may see; run `dsp db upgrade`"
    if current == HEAD:
        return None
    if current in REVISIONS:
        return f"has schema {current}, this package needs {HEAD}; run `dsp db upgrade`"
    return (
        f"has schema {current}, which is newer than this package ({HEAD});"
        " the package is older than the database: install the newer dsp-airflow"
    )


def upgrade(connection: Connection) -> str | None:
    """Migrates inside the caller's writing transaction; returns what stands in the way."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    current = version(connection)
    if current is None and inspect(connection).has_table("dag_run"):
        return "is Airflow's metadata database; give the state a database of its own"
    if not is_behind(current):
        return problem(current)
    from alembic import command
    from alembic.config import Config

    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return None
