"""Values of Python as MySQL writes them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.stores.mysql.names import text_literal


def literal(value: object) -> str:
    """A typed literal of a Python value."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return f"({value})"
    if isinstance(value, Decimal):
        return f"({value:f})"
    if isinstance(value, float):
        return f"({value!r}e0)" if "e" not in repr(value) else f"({value!r})"
    if isinstance(value, datetime):
        # Sessions are in UTC, and so is what a TIMESTAMP shows them.
        plain = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return f"TIMESTAMP'{plain.isoformat(' ')}'"
    if isinstance(value, date):
        return f"DATE'{value.isoformat()}'"
    if isinstance(value, str | UUID):
        return text_literal(str(value))
    raise ConfigError(f"{value!r} ({type(value).__name__}) cannot be a MySQL value")
