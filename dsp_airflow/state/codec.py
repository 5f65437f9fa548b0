"""Values to text and back. JSON text keeps integers of any size and every key exact."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from dsp_airflow.engine.model import Key

T = TypeVar("T")
ERROR_LENGTH = 4000


def dump(value: object) -> str:
    """A frozen dataclass of the engine's model as JSON."""
    return _adapter(cast("Any", type(value))).dump_json(value).decode()


def load(kind: type[T], text: str) -> T:
    """What ``dump`` wrote. Fields added since take their defaults; unknown ones are dropped."""
    loaded: T = _adapter(cast("Any", kind)).validate_json(text)
    return loaded


def canonical(value: object) -> str:
    """The one JSON text of a JSON-able value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def dump_key(key: Key | None) -> str | None:
    """A key as a JSON list."""
    return None if key is None else canonical(key)


def load_key(text: str | None) -> Key | None:
    """The inverse of ``dump_key``."""
    return None if text is None else tuple(json.loads(text))


def message(text: str | None) -> str | None:
    """Free text as any database can store it, and not endless."""
    if text is None:
        return None
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:ERROR_LENGTH]


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
