"""The one place where errors of the state database's drivers become the package's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Transient

_SQLITE_DENIED = ("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")
_SQLITE_BROKEN = ("SQLITE_NOTADB", "SQLITE_CORRUPT")
_DENIED_STATES = ("28", "42501")
_ABSENT_STATES = ("42P01", "42703")
_DENIED_WORDS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "permission denied",
    "is not permitted to log in",
)


@contextmanager
def translated(label: str) -> Iterator[None]:
    """Raises ``Transient``, ``Denied`` or ``ConfigError`` for what the database refused.

    Errors of the statement itself (a violated constraint, say) pass: they are the caller's.
    """
    try:
        yield
    except PoolTimeout as error:
        raise Transient(f"{label} has no free connection; try again") from error
    except DBAPIError as error:
        fault = _fault(label, error)
        if fault is None:
            raise
        raise fault from error


def _fault(label: str, error: DBAPIError) -> DspError | None:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _sqlite(label, cause)
    return _postgres(label, error)


def _sqlite(label: str, cause: sqlite3.Error) -> DspError | None:
    name: str = getattr(cause, "sqlite_errorname", "") or ""
    if name.startswith(_SQLITE_DENIED):
        return Denied(f"{label} may not be written ({cause}); check the file's owner and mode")
    if name.startswith(_SQLITE_BROKEN):
        return ConfigError(f"{label} is not a sound SQLite file ({cause}); restore a backup")
    if name == "SQLITE_ERROR" and "no such" in str(cause):
        return ConfigError(f"{label} lacks a table ({cause}); run `dsp db upgrade`")
    if name == "SQLITE_INTERRUPT":
        return Transient(f"{label} took longer than it may; ask for less")
    if isinstance(cause, sqlite3.OperationalError):
        return Transient(f"{label} is not available ({cause}); try again")
    return None


def _postgres(label: str, error: DBAPIError) -> DspError | None:
    cause = error.orig
    state: str = getattr(cause, "sqlstate", None) or ""
    text = " ".join(str(cause).split())
    if state.startswith(_DENIED_STATES) or (not state and any(w in text for w in _DENIED_WORDS)):
        return Denied(f"{label} refuses the login or its privileges: {text}")
    if state == "3D000" or ("database" in text and "does not exist" in text and not state):
        return ConfigError(f"{label} does not exist; create it, then run `dsp db upgrade`")
    if not state and "role" in text and "does not exist" in text:
        return Denied(f"{label} refuses the login: {text}")
    if state in _ABSENT_STATES:
        return ConfigError(f"{label} lacks a table or column; run `dsp db upgrade`")
    if state == "57014":
        return Transient(f"{label} took longer than it may; ask for less")
    if error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError)):
        return Transient(f"{label} is not available: {text}")
    return None
