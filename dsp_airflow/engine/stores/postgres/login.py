"""Opening a connection to PostgreSQL, with what every session of ours needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import psycopg

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Transient
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.postgres import translate
from dsp_airflow.engine.stores.postgres.query import Connection

# Text of keys and canonical values depends on these; the rest keeps a session harmless.
SETTINGS = """
SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
SET extra_float_digits = 1; SET bytea_output = 'hex'; SET standard_conforming_strings = on;
SET lc_monetary = 'C'; SET xmloption = content;
SET client_encoding = 'UTF8'; SET row_security = off;
SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off;
SET idle_in_transaction_session_timeout = '1h'; SET jit = off;
SET client_min_messages = warning; SET default_transaction_read_only = off;
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') IN ('off', 'local');
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('idle_session_timeout', 'transaction_timeout')
"""
CONNECT = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


def connect(arguments: Mapping[str, Any], options: SessionOptions, where: str) -> Connection:
    """A connection of ours; ``where`` names it in errors."""
    try:
        connection: Connection = psycopg.connect(
            **{**CONNECT, **arguments, "application_name": options.name},
            autocommit=True,
            prepare_threshold=None,
        )
    except psycopg.Error as error:
        raise _unreachable(error, where) from error
    with translate.translating(where):
        connection.execute(settings(options).encode())
    return connection


def settings(options: SessionOptions) -> str:
    """What every session of ours begins with."""
    return (
        f"{SETTINGS}; SET lock_timeout = {_milliseconds(options.lock)}; "
        f"SET statement_timeout = {_milliseconds(options.statement)}"
    )


def _milliseconds(wait: timedelta | None) -> int:
    """0 is the server's word for no limit."""
    return 0 if wait is None else max(1, wait // timedelta(milliseconds=1))


def _unreachable(error: psycopg.Error, where: str) -> DspError:
    # libpq reports a failed login as text only: the server's code is not passed on.
    text = " ".join(str(error).split())
    lowered = text.lower()
    if "password authentication failed" in lowered or "no password supplied" in lowered:
        return Denied(f"{where}: {text}; correct login and password of the Airflow connection")
    if "does not have connect privilege" in lowered:
        return Denied(f"{where}: {text} GRANT CONNECT ON DATABASE <database> TO <role>")
    if "pg_hba.conf" in lowered or "permission denied" in lowered:
        return Denied(f"{where}: {text}; allow this client on the server")
    if "does not exist" in lowered:
        return ConfigError(f"{where}: {text}; correct the Airflow connection")
    return Transient(
        f"{where}: cannot connect: {text}; check host, port and network, and that it is running"
    )
