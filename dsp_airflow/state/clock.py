"""Times are the state database's own, always aware and in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """``timestamptz`` on PostgreSQL; on SQLite text in UTC, so that it sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; a time without a zone is a mistake of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Always aware."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return value.replace(tzinfo=UTC)
        return value.astimezone(UTC)


class server_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """The moment of evaluation (not of the transaction's start)."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(server_now, "postgresql")
def _postgres(*_: Any, **__: Any) -> str:
    return "clock_timestamp()"


@compiles(server_now, "sqlite")
def _sqlite(*_: Any, **__: Any) -> str:
    # Milliseconds, padded to the six digits in which SQLAlchemy keeps times on SQLite.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
