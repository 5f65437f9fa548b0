"""What a server tells of the replication that it takes part in, and of its load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dsp_airflow.engine.model import Lag
from dsp_airflow.engine.stores.mysql.login import is_mariadb
from dsp_airflow.engine.stores.mysql.query import Connection, texts

_HOST: Final = ("Source_Host", "Master_Host")
_BEHIND: Final = ("Seconds_Behind_Source", "Seconds_Behind_Master")
_RUNNING: Final = (
    ("applies", ("Replica_SQL_Running", "Slave_SQL_Running")),
    ("receives", ("Replica_IO_Running", "Slave_IO_Running")),
)
_ERRORS: Final = ("Last_SQL_Error", "Last_IO_Error")


def channels(connection: Connection) -> list[dict[str, str | None]]:
    """The status of each replication from another server, by the names of its columns."""
    which = "SHOW ALL REPLICAS STATUS" if is_mariadb(connection) else "SHOW REPLICA STATUS"
    connection.query(which)
    result = connection.store_result()
    names = [column[0] for column in result.describe()]
    return [
        {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in zip(names, row, strict=True)
        }
        for row in result.fetch_row(0)
    ]


def host(channel: Mapping[str, str | None]) -> str:
    """The server that it is from."""
    return _first(channel, _HOST) or "another server"


def lags(connection: Connection) -> list[Lag]:
    """See ``ports.TellsLoad``."""
    return [_lag(channel) for channel in channels(connection)]


def _lag(channel: Mapping[str, str | None]) -> Lag:
    of = f"replication from {host(channel)}"
    behind = _first(channel, _BEHIND)
    if behind is not None:
        return Lag(of, int(behind))
    stopped = [f"it {does} nothing" for does, names in _RUNNING if _first(channel, names) != "Yes"]
    errors = [text for name in _ERRORS if (text := channel.get(name))]
    return Lag(of, None, "; ".join([*stopped, *errors]) or "the server does not say")


def threads_running(connection: Connection) -> int:
    """See ``ports.TellsLoad``. This session is one of them."""
    [(_, number)] = texts(connection, "SHOW GLOBAL STATUS LIKE 'Threads_running'")
    return int(str(number))


def _first(channel: Mapping[str, str | None], names: tuple[str, ...]) -> str | None:
    return next((channel[name] for name in names if channel.get(name) is not None), None)
