"""The real servers of the tests and benchmarks. A server that cannot start raises ServerError."""

from dsp_airflow.demo.servers import PostgresServer, ServerError, SmtpSink, free_port
from tests.servers.databases import Database, fresh_database, postgres
from tests.servers.statsd import StatsdListener

__all__ = [
    "Database",
    "PostgresServer",
    "ServerError",
    "SmtpSink",
    "StatsdListener",
    "free_port",
    "fresh_database",
    "postgres",
]
