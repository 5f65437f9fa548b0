"""What is accepted is SQL to the server as well, and strings arrive as they were written."""

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from dsp_airflow.config.sqltokens import SqlError
from dsp_airflow.config.where import parse_expression, parse_where
from tests.servers import Database
from tests.unit.config.test_where import ACCEPTED, CONDITIONS, HOSTILE, quote, render

NO_SUCH_TABLE = "42P01"
SHARED = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def complaint(connection: psycopg.Connection, sql: str) -> str | None:
    """SQLSTATE of the error that parsing `sql` as the condition of a query gives, or None."""
    try:
        # No such table: a name is only looked up after the whole text has been parsed.
        connection.execute(f"SELECT FROM no_such_table WHERE {sql}".encode())
    except psycopg.Error as error:
        connection.rollback()
        return error.sqlstate
    return None


@pytest.mark.parametrize("setting", ["on", "off"])
def test_accepted_filters_are_sql(pg_db: Database, setting: str) -> None:
    with pg_db.connect() as connection:
        connection.execute(f"SET standard_conforming_strings = {setting}".encode())
        connection.execute("SET escape_string_warning = off")
        connection.commit()
        for text in ACCEPTED:
            sql = render(parse_where(text)).replace("(L)", "('x'::text)")
            assert complaint(connection, sql) == NO_SUCH_TABLE, sql


def test_generated_filters_are_sql(pg_db: Database) -> None:
    with pg_db.connect() as connection:

        @SHARED
        @given(CONDITIONS)
        def every(text: str) -> None:
            sql = render(parse_where(text)).replace("(L)", "('x'::text)")
            assert complaint(connection, sql) == NO_SUCH_TABLE

        every()


@pytest.mark.parametrize("setting", ["on", "off"])
def test_hostile_strings_arrive_as_written(pg_db: Database, setting: str) -> None:
    with pg_db.connect() as connection:
        connection.execute(f"SET standard_conforming_strings = {setting}".encode())
        connection.execute("SET escape_string_warning = off")

        @SHARED
        @given(HOSTILE)
        def every(text: str) -> None:
            try:
                text.encode()
                expression = parse_expression("'" + text.replace("'", "''") + "' || ''")
            except (SqlError, UnicodeEncodeError):
                return
            row = connection.execute(f"SELECT {expression.render({}, quote)}".encode()).fetchone()
            assert row == (text,)

        every()
