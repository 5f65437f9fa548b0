"""What the demonstration runs on: PostgreSQL, MariaDB, MongoDB, S3, a mail server and Airflow.

MariaDB and MongoDB are left out where they cannot be had.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
from psycopg import sql

from dsp_airflow.demo import approvals, documents, flights
from dsp_airflow.demo.errors import DemoError
from dsp_airflow.demo.mariadb import MariaDBServer
from dsp_airflow.demo.mongo import MongoServer, mongod_refusal
from dsp_airflow.demo.servers import PostgresServer, SmtpSink, embedded_postgres_bin
from dsp_airflow.demo.standalone import AirflowStandalone
from dsp_airflow.demo.storage import S3Server
from dsp_airflow.state.database import StateDatabase, open_state, upgrade

CHECKOUT = Path(__file__).parents[2]
CONNECTIONS = {
    "flights_source": "shop",
    "flights_target": "warehouse",
    "app_source": "app",
    "analytics_target": "analytics",
}
"""The connections of the tasks in `dags/tasks`, each with its database."""

STORAGE = "archive_s3"
BUCKET = "archive"
"""The connection and the bucket of the task that archives."""

MARIADB = "shop_mariadb"
SHOP = "shop"
"""The connection of the task that copies to MariaDB, and its database and login there."""

STATE = "dsp"
METADATA = "airflow"
USER = "dsp_demo"
"""Owns the databases and is no superuser: what a job needs, and no more."""

SETTINGS_FILE = "settings.sh"


@dataclass(frozen=True, slots=True)
class Tables:
    """What source and target hold at one time."""

    source: flights.Content
    target: flights.Content

    @property
    def both(self) -> flights.Content:
        """All rows, wherever they are."""
        return self.source + self.target


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers. `home` is Airflow's home and holds the mails and `settings.sh`."""

    home: Path
    postgres: PostgresServer
    storage: S3Server
    smtp: SmtpSink
    airflow: AirflowStandalone
    mariadb: MariaDBServer | None
    mongo: MongoServer | None
    no_mongo: str
    """Why there is none; empty when there is."""

    def uri(self, database: str) -> str:
        """Return the URI of a database for its owner."""
        return _uri(self.postgres, database)

    def load(self) -> None:
        """Fill the sources of the example tasks."""
        with self._connect("shop") as shop:
            flights.load_flights(shop)
            if self.mongo is not None:
                documents.load(self.mongo, shop)
        with self._connect("app") as app:
            flights.load_users(app)

    def count(self) -> Tables:
        """Count the flights on both sides."""
        with self._connect("shop") as shop:
            source = flights.content(shop, flights.SOURCE_TABLE)
        with self._connect("warehouse") as warehouse:
            return Tables(source, flights.content(warehouse, flights.TARGET_TABLE))

    def archived(self) -> int:
        """Count the rows of all Parquet files in the bucket, by what the files say."""
        client = self.storage.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return sum(
            pq.read_metadata(
                io.BytesIO(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
            ).num_rows
            for key in keys
            if key.endswith(".parquet")
        )

    def autumn(self) -> tuple[flights.Content, flights.Content]:
        """Count the flights that go to MariaDB, in the source and there."""
        if self.mariadb is None:
            raise DemoError("MariaDB is not installed")
        with self._connect("shop") as shop:
            return flights.autumn(shop), flights.content_of_mariadb(self.mariadb, SHOP)

    def christmas(self) -> tuple[flights.Content, flights.Content]:
        """Count the flights that go to MongoDB, in the source and there."""
        with self._connect("shop") as shop:
            return documents.christmas(shop), documents.content(self._mongo)

    def files(self) -> documents.Buckets:
        """Look at the files in MongoDB."""
        return documents.buckets(self._mongo)

    @property
    def _mongo(self) -> MongoServer:
        if self.mongo is None:
            raise DemoError(self.no_mongo)
        return self.mongo

    def altered(self) -> int:
        """Count the flights in the source that are not as they were loaded."""
        with self._connect("shop") as shop:
            return flights.altered(shop)

    def open_state(self) -> StateDatabase:
        """Create this package's own database and open it."""
        url = self.uri(STATE)
        upgrade(url)
        return open_state(url)

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(self.uri(database), autocommit=True)


def start(stack: ExitStack) -> Stage:
    """Start everything; Airflow takes most of a minute from here. `stack` ends it all."""
    for folder in ("dags", "plugins"):
        if not (CHECKOUT / folder).is_dir():
            raise DemoError(f"dsp demo runs in a checkout of the project: no {CHECKOUT / folder}")
    home = Path(tempfile.mkdtemp(prefix="dsp-demo-"))
    stack.callback(shutil.rmtree, home, ignore_errors=True)
    postgres = stack.enter_context(PostgresServer(embedded_postgres_bin(), fsync=True))
    storage = stack.enter_context(S3Server("moto"))
    storage.client().create_bucket(Bucket=BUCKET)
    smtp = stack.enter_context(SmtpSink(home / "mail"))
    mariadb, reached = _mariadb(stack)
    no_mongo = mongod_refusal()
    mongo = None if no_mongo else stack.enter_context(MongoServer())
    if mongo is not None:
        reached[documents.CONNECTION] = documents.create_user(mongo)
    _create_databases(postgres)
    airflow = AirflowStandalone(
        home,
        dags=CHECKOUT / "dags",
        plugins=CHECKOUT / "plugins",
        state_url=_uri(postgres, STATE),
        metadata_url=_uri(postgres, METADATA),
        connections={
            **{name: _uri(postgres, data) for name, data in CONNECTIONS.items()},
            STORAGE: storage.airflow_connection(BUCKET),
            "smtp_default": smtp.airflow_uri,
            **reached,
        },
        settings=approvals.settings(home),
    )
    programs = [Path(sys.executable).parent, postgres.bin_dir]
    _write_settings(home / SETTINGS_FILE, airflow.settings, programs)
    stack.enter_context(airflow)
    return Stage(home, postgres, storage, smtp, airflow, mariadb, mongo, no_mongo)


def _mariadb(stack: ExitStack) -> tuple[MariaDBServer | None, dict[str, str]]:
    """The server with its database, and the connection to it, where it is installed."""
    if not MariaDBServer.installed():
        return None, {}
    server = stack.enter_context(MariaDBServer({"innodb_flush_log_at_trx_commit": 1}))
    server.run(f"CREATE DATABASE {SHOP} CHARACTER SET utf8mb4")
    password = server.create_user(SHOP, f"ALL ON {SHOP}.*")
    return server, {MARIADB: server.uri(SHOP, user=SHOP, password=password)}


def _create_databases(postgres: PostgresServer) -> None:
    owner = sql.Identifier(USER)
    for name in (*CONNECTIONS.values(), STATE, METADATA):
        postgres.create_database(name)
    with postgres.connect() as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(owner, postgres.password)
        )
        for name in (*CONNECTIONS.values(), STATE, METADATA):
            connection.execute(
                sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), owner)
            )


def _uri(postgres: PostgresServer, database: str) -> str:
    return postgres.uri(database, user=USER)


def _write_settings(file: Path, settings: dict[str, str], programs: list[Path]) -> None:
    """For a shell that wants to use `dsp`, `airflow` or `psql` here; it holds passwords."""
    file.touch(mode=0o600)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    path = os.pathsep.join(shlex.quote(str(folder)) for folder in programs)
    lines.append(f"export PATH={path}{os.pathsep}$PATH")
    file.write_text("\n".join(lines) + "\n")
