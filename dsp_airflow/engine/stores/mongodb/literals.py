"""Values of Python as extended JSON."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final
from uuid import UUID

from bson import Binary, Decimal128, Int64

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.stores.mongodb import keys

_INT64: Final = range(-(2**63), 2**63)


def literal(value: object) -> str:
    """A value in extended JSON. Moments have milliseconds here, and lose what is below."""
    if isinstance(value, datetime):
        return keys.dump(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return keys.dump(datetime.combine(value, time(), UTC))
    if isinstance(value, Decimal):
        return keys.dump(Decimal128(value))
    if isinstance(value, UUID):
        return keys.dump(Binary.from_uuid(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return keys.dump(Int64(value) if value in _INT64 else Decimal128(str(value)))
    if value is None or isinstance(value, bool | float | str):
        return keys.dump(value)
    raise ConfigError(f"{value!r} ({type(value).__name__}) cannot be a value of MongoDB")
