"""Keys as texts: canonical extended JSON."""

from __future__ import annotations

from typing import Any

from bson import json_util

_OPTIONS = json_util.CANONICAL_JSON_OPTIONS.with_options(
    datetime_representation=json_util.DatetimeRepresentation.NUMBERLONG
)


def key_text(value: Any) -> str:
    """The text."""
    return json_util.dumps(value, json_options=_OPTIONS)


def key_value(text: str) -> Any:
    """The value."""
    return json_util.loads(text, json_options=_OPTIONS)
