"""Driver errors become the engine's, once, here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg

from dsp_airflow.config.scalars import format_duration
from dsp_airflow.engine.errors import (
    BadValue,
    ConfigError,
    Contended,
    Denied,
    DspError,
    Refused,
    Transient,
)
from dsp_airflow.engine.options import SessionOptions

DROPPED = (pg.UndefinedTable, pg.UndefinedColumn, pg.InvalidSchemaName, pg.UndefinedObject)
LOSS_TAG = "dsp_loss:"
"""Marks a value that a guarded cast refused; see ``casting``."""
_QUOTED = re.compile(r""": (?:"(?s:.*)"|'(?s:.*)')""")


def _loss(message: str) -> str | None:
    start = message.find(LOSS_TAG)
    if start < 0:
        return None
    (column, *key), _ = json.JSONDecoder().raw_decode(message[start + len(LOSS_TAG) :])
    return (
        f"column {column} of the row with key {', '.join(map(str, key))}: its value does not fit "
        "the target type; widen the target column, map the column to a type that holds the value, "
        "or say on_loss"
    )


def _value_error(error: psycopg.Error, where: str) -> DspError:
    message = error.diag.message_primary or str(error)
    loss = _loss(message)
    if loss is not None:
        return BadValue(f"{where}: {loss}")
    # Values stay where they are: they are nobody's to read in a log.
    message = _QUOTED.sub("", message)
    detail = _QUOTED.sub("", error.diag.context or error.diag.message_detail or "")
    if detail.startswith("Failing row contains"):
        detail = ""
    return BadValue(
        f"{where}: {message}" + (f" ({' '.join(detail.split())[:300]})" if detail else "")
    )


def _waited(error: psycopg.Error, where: str, options: SessionOptions) -> Transient:
    """A timeout of the session, or somebody on the server, ended the statement."""
    message = error.diag.message_primary or str(error)
    if isinstance(error, pg.LockNotAvailable):
        limit = f"a lock was not to be had within {format_duration(options.lock)} (timeouts.lock)"
        return Contended(
            f"{where}: {message}: {limit}. Retry when who holds it is "
            "through, or raise timeouts.lock of the job"
        )
    if options.statement is None:
        return Transient(f"{where}: {message}; somebody on the server ended it, retry")
    return Transient(
        f"{where}: {message}: a statement may take {format_duration(options.statement)} "
        "(timeouts.statement). Retry when the server is less busy, make batches smaller "
        "(batch_size), or raise timeouts.statement of the job"
    )


def _constraint(error: psycopg.Error, where: str, message: str) -> DspError | None:
    """What a row broke, and what to do about it."""
    if isinstance(error, pg.UniqueViolation):
        detail = error.diag.message_detail or message
        return BadValue(
            f"{where}: {message}: {detail} Another row already holds this value; "
            "nothing of the batch was written"
        )
    if isinstance(error, pg.NotNullViolation):
        return BadValue(
            f"{where}: column {error.diag.column_name} does not accept NULL, and a row has none "
            "to give; map a constant or an expression with coalesce, or allow NULL in the target"
        )
    if isinstance(error, pg.CheckViolation) and error.diag.constraint_name is None:
        # Only the bounds of partitions have no name.
        return BadValue(
            f"{where}: {message}: {error.diag.message_detail or ''} Create a partition for it, or "
            f"one that takes the rest (PARTITION OF {error.diag.table_name} DEFAULT), or leave "
            "such rows out with where; nothing of the batch was written"
        )
    if isinstance(error, pg.ForeignKeyViolation):
        return Refused(f"{where}: {message}: {error.diag.message_detail or ''}")
    return None


def _denied(where: str, message: str) -> Denied:
    if "row-level security" in message:
        return Denied(
            f"{where}: {message}; a part of the rows is no copy: ALTER ROLE <role> BYPASSRLS, for "
            "a view that of its owner"
        )
    schema = re.fullmatch(r"permission denied for schema (.+)", message)
    grant = f"GRANT USAGE ON SCHEMA {schema[1]} TO <role>" if schema else "GRANT ..."
    return Denied(f"{where}: {message}; ask the owner for the privilege ({grant})")


def translated(error: psycopg.Error, where: str, options: SessionOptions | None = None) -> DspError:
    """The engine's error for a driver error. ``where`` names connection and object."""
    message = (error.diag.message_primary or str(error)).strip()
    state = error.sqlstate or ""
    broken = _constraint(error, where, message)
    if broken is not None:
        return broken
    if isinstance(error, pg.InsufficientPrivilege):
        return _denied(where, message)
    if isinstance(error, DROPPED):
        return ConfigError(f"{where}: {message}; it was dropped or renamed, or never existed")
    if isinstance(error, (pg.LockNotAvailable, pg.QueryCanceled)):
        return _waited(error, where, options or SessionOptions())
    if isinstance(error, (pg.DiskFull, pg.OutOfMemory)):
        return Transient(f"{where}: {message}; make room on the server, then retry")
    if isinstance(error, pg.FeatureNotSupported):
        return Refused(f"{where}: {message}; this server cannot do that")
    if isinstance(error, pg.ReadOnlySqlTransaction):
        return Refused(f"{where}: {message}; the server or the role is read-only")
    if state.startswith("28"):
        return Denied(f"{where}: {message}; correct the login of the Airflow connection")
    if state.startswith("3D"):
        return ConfigError(f"{where}: {message}; correct the schema of the Airflow connection")
    if state.startswith(("22", "23", "21")):
        return _value_error(error, where)
    if state.startswith("42"):
        return ConfigError(f"{where}: {message}")
    if isinstance(error, (pg.DeadlockDetected, pg.SerializationFailure)):
        return Contended(f"{where}: {message}; the server undid the transaction, retry")
    return Transient(f"{where}: {message}")


@contextmanager
def translating(where: str, options: SessionOptions | None = None) -> Iterator[None]:
    """Translates every driver error raised inside."""
    try:
        yield
    except psycopg.Error as error:
        raise translated(error, where, options) from error
