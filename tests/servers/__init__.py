"""The real servers of the tests and benchmarks. A server that cannot start raises ServerError."""

from dsp_airflow.demo.servers import PostgresServer, ServerError, SmtpSink, free_port
from tests.servers.databases import Database, fresh_database, postgres

__all__ = [
    "Database",
    "PostgresServer",
    "ServerError",
    "SmtpSink",
    "free_port",
    "fresh_database",
    "postgres",
]
