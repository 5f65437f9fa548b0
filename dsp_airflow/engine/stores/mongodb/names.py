"""Names of collections: database and collection, quoted where they need it."""

from __future__ import annotations

from dsp_airflow.config.names import split_table
from dsp_airflow.engine.errors import ConfigError

MARKERS = "dsp_commits"
LOCKS = "dsp_locks"


def quote(identifier: str) -> str:
    """A quoted identifier, whatever it holds: collections have dots in their names."""
    return '"' + identifier.replace('"', '""') + '"'


def qualified(database: str, name: str) -> str:
    """The quoted full name."""
    return f"{quote(database)}.{quote(name)}"


def split(table: str, default: str) -> tuple[str, str]:
    """Database and collection; the connection's own database where none is named."""
    parts = split_table(table)
    if len(parts) == 1 and not default:
        raise ConfigError(
            f"{table}: name the database as well (database.collection), or set it as the schema "
            "of the Airflow connection"
        )
    return (parts[0], parts[1]) if len(parts) == 2 else (default, parts[0])
