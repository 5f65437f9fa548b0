"""Values of Python as PostgreSQL writes them."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.stores.postgres.names import text_literal


def literal(value: object) -> str:
    """A typed literal of a Python value.

    Text is quoted under ``standard_conforming_strings`` (which sessions switch on), where
    only the quote itself is special.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"({value})"
    if isinstance(value, (float, Decimal)):
        return (
            f"{text_literal(str(value))}::{'numeric' if isinstance(value, Decimal) else 'float8'}"
        )
    if isinstance(value, datetime):
        kind = "timestamptz" if value.tzinfo else "timestamp"
        return f"{text_literal(value.isoformat())}::{kind}"
    if isinstance(value, date):
        return f"{text_literal(value.isoformat())}::date"
    if isinstance(value, str):
        return text_literal(value)
    if isinstance(value, UUID):
        return f"{text_literal(str(value))}::uuid"
    raise ConfigError(f"{value!r} ({type(value).__name__}) cannot be a PostgreSQL value")
