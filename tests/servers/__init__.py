"""The real servers of the tests and benchmarks. A server that cannot start raises ServerError."""

from dsp_airflow.demo.mariadb import MariaDBServer, MySQLFamilyServer
from dsp_airflow.demo.mongo import MongoServer
from dsp_airflow.demo.process import ServerError, free_port
from dsp_airflow.demo.servers import PostgresServer, SmtpSink
from tests.servers.databases import Database, fresh_database, postgres
from tests.servers.mongo_databases import MongoDatabase, fresh_mongo_database
from tests.servers.mongo_set import MongoSet
from tests.servers.mysql import MySQLMissingError, MySQLServer
from tests.servers.mysql_databases import MySQLDatabase, fresh_mysql_database
from tests.servers.redis import RedisServer
from tests.servers.report import REPORT, ServerReport
from tests.servers.statsd import StatsdListener

__all__ = [
    "REPORT",
    "Database",
    "MariaDBServer",
    "MongoDatabase",
    "MongoServer",
    "MongoSet",
    "MySQLDatabase",
    "MySQLFamilyServer",
    "MySQLMissingError",
    "MySQLServer",
    "PostgresServer",
    "RedisServer",
    "ServerError",
    "ServerReport",
    "SmtpSink",
    "StatsdListener",
    "free_port",
    "fresh_database",
    "fresh_mongo_database",
    "fresh_mysql_database",
    "postgres",
]
