"""``dsp db``: the state database."""

from __future__ import annotations

from pathlib import Path

from dsp_airflow.cli import output
from dsp_airflow.engine.errors import ConfigError


def upgrade() -> None:
    """Creates the tables or brings them up to date."""
    from dsp_airflow.state.database import upgrade as bring_up
    from dsp_airflow.state.location import label, state_url

    revision = bring_up()
    output.write(f"{label(state_url())} has schema {revision}")


def version() -> None:
    """Which schema the database has, and which one is needed."""
    from dsp_airflow.state import schema
    from dsp_airflow.state.database import StateDatabase
    from dsp_airflow.state.location import label, state_url

    url = state_url()
    if url.drivername == "sqlite" and not Path(url.database or "").is_file():
        raise ConfigError(f"{label(url)} does not exist; run `dsp db upgrade`")
    with StateDatabase(url) as database, database.read() as connection:
        current = schema.version(connection)
    output.write(f"{database.label}: schema {current or 'none'}, needed {schema.HEAD}")
    problem = schema.problem(current)
    if problem is not None:
        raise ConfigError(f"{database.label} {problem}")


def backup(file: Path) -> None:
    """All tables as of one moment, in a new file."""
    from dsp_airflow.state.backup import backup as save

    done = save(None, file)
    output.write(f"{done.path}: {sum(done.rows.values()):,} rows as of {done.created_at:%F %T} UTC")


def restore(file: Path) -> None:
    """Fills an empty state database from a backup."""
    from dsp_airflow.state.backup import restore_backup

    done = restore_backup(file)
    output.write(f"{sum(done.rows.values()):,} rows as of {done.created_at:%F %T} UTC restored")


def prune(older_than: str) -> None:
    """Removes ended runs without receipts that are old enough."""
    from dsp_airflow.config.scalars import parse_duration
    from dsp_airflow.state.database import open_state
    from dsp_airflow.state.maintenance import prune as remove

    try:
        age = parse_duration(older_than)
    except ValueError as error:
        raise ConfigError(f"--older-than {older_than}: {error}") from error
    with open_state() as database:
        done = remove(database, age)
    output.write(
        f"removed {done.runs:,} runs, {done.batches:,} batches, {done.differences:,} differences, "
        f"{done.mails:,} mails, {done.leases:,} leases, "
        f"{done.estimates:,} estimates"
    )
