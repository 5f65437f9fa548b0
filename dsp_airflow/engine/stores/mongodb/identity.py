"""Where a connection leads, and whether two lead to one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from dsp_airflow.engine.stores.mongodb.connection import Client

PORT: Final = 27017


def of(arguments: Mapping[str, Any], database: str) -> str:
    """``host:port,host:port/database``, from the address that the driver is given; no secret."""
    address = str(arguments.get("host", "localhost"))
    netloc = urlsplit(address).netloc if "://" in address else address
    hosts = netloc.rpartition("@")[2]
    if address.startswith("mongodb+srv"):
        return f"{hosts}/{database}"
    listed = [host if ":" in host else f"{host}:{PORT}" for host in hosts.split(",")]
    return f"{','.join(listed)}/{database}"


def same(client: Client, other: Client) -> bool:
    """Whether both are logged in to one deployment."""
    return _deployment(client) == _deployment(other)


def _deployment(client: Client) -> tuple[str, str]:
    hello = client.admin.command("hello")
    if hello.get("msg") == "isdbgrid":
        version = client.get_database("config").get_collection("version").find_one() or {}
        return "sharded cluster", str(version.get("clusterId"))
    if "setName" in hello:
        return "replica set", f"{hello['setName']} {','.join(sorted(hello.get('hosts', ())))}"
    # A process has one of these as long as it lives.
    return "standalone", str(hello.get("topologyVersion", {}).get("processId"))
