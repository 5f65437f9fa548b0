"""Airflow Connections to stores: the only reader of secrets, with ``postgres``, ``mysql``,
``mongo`` and ``aws``.

The providers' hooks build the driver's arguments, so whatever they understand (TLS, IAM,
service files, session options) works here as it does in any other operator. Airflow and the
providers are imported when a connection is first opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.ports import Store
from dsp_airflow.findings import CHECK, Finding


def open_store(conn_id: str) -> Store:
    """The store of an Airflow connection; nothing is connected yet.

    Raises ``ConfigError`` when there is no such connection or its type is not supported.
    """
    opener, _ = _SYSTEMS[_kind(conn_id)]
    return opener(conn_id)


def check_connection(conn_id: str) -> list[Finding]:
    """Looks at a connection as a job would use it, up to the first thing that makes it useless.

    Unknown and unsupported connections raise ``ConfigError``, as ``open_store`` does.
    """
    _, check = _SYSTEMS[_kind(conn_id)]
    return check(conn_id)


def _kind(conn_id: str) -> str:
    kind = str(_airflow_connection(conn_id).conn_type or "")
    if kind not in _SYSTEMS:
        raise ConfigError(
            f"connection {conn_id} is of type {kind or 'none'!s}, which is not supported; "
            f"supported are: {', '.join(_SYSTEMS)}"
        )
    return kind


def _airflow_connection(conn_id: str) -> Any:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        # The environment variable only works for ids that can be part of its name.
        variable = (
            f", or set AIRFLOW_CONN_{conn_id.upper()}" if re.fullmatch(r"\w+", conn_id) else ""
        )
        raise ConfigError(
            f"there is no Airflow connection {conn_id!r}; "
            f"create it under Admin > Connections{variable}"
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever a secrets backend raises
        # Not chained and not quoted: a connection that cannot be read may be quoted in it.
        raise ConfigError(
            f"connection {conn_id} cannot be read ({type(error).__name__}); "
            "check its URI, or its JSON in the extra field"
        ) from None


# Each imports its driver and its provider when it is first called.


def _open_postgres(conn_id: str) -> Store:
    from dsp_airflow.postgres import open_postgres

    return open_postgres(conn_id)


def _check_postgres(conn_id: str) -> list[Finding]:
    from dsp_airflow.postgres import check_postgres

    return check_postgres(conn_id)


def _open_mysql(conn_id: str) -> Store:
    from dsp_airflow.mysql import open_mysql

    return open_mysql(conn_id)


def _check_mysql(conn_id: str) -> list[Finding]:
    from dsp_airflow.mysql_checks import check_mysql

    return check_mysql(conn_id)


def _open_mongo(conn_id: str) -> Store:
    from dsp_airflow.mongo import open_mongo

    return open_mongo(conn_id)


def _check_mongo(conn_id: str) -> list[Finding]:
    from dsp_airflow.mongo_checks import check_mongo

    return check_mongo(conn_id)


def _open_s3(conn_id: str) -> Store:
    from dsp_airflow.aws import open_s3

    # Not of databases: ``paths`` tells which jobs may use it, and how.
    return cast("Store", open_s3(conn_id))


def _check_s3(conn_id: str) -> list[Finding]:
    from dsp_airflow.aws import check_s3

    return check_s3(conn_id)


_SYSTEMS: Mapping[str, tuple[Callable[[str], Store], Callable[[str], list[Finding]]]] = {
    "postgres": (_open_postgres, _check_postgres),
    "mysql": (_open_mysql, _check_mysql),
    "mongo": (_open_mongo, _check_mongo),
    "aws": (_open_s3, _check_s3),
}
"""How to open, and how to check, by Airflow's connection type."""

__all__ = ["CHECK", "Finding", "check_connection", "open_store"]
