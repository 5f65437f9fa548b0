"""Ids as texts, exactly: canonical extended JSON, and the bytes where that would lose something."""

from __future__ import annotations

import json
from typing import Any, Final

import bson
from bson import json_util
from bson.json_util import JSONMode, JSONOptions

from dsp_airflow.engine.documents import EXACT
from dsp_airflow.engine.model import Key
from dsp_airflow.engine.stores.mongodb import raw
from dsp_airflow.engine.stores.mongodb.raw import Value

CANONICAL: Final = JSONOptions(
    json_mode=JSONMode.CANONICAL,
    datetime_conversion=raw.OPTIONS.datetime_conversion,
    document_class=dict,
    tz_aware=True,
)


def text(value: Value) -> str:
    """The value as text; ``value`` gives the very same bytes back."""
    if value.kind == raw.OBJECT_ID:
        return f'{{"$oid": "{value.data.hex()}"}}'
    if value.kind in {raw.INT32, raw.INT64}:
        name = "$numberInt" if value.kind == raw.INT32 else "$numberLong"
        return f'{{"{name}": "{int.from_bytes(value.data, "little", signed=True)}"}}'
    try:
        if value.kind == raw.STRING:
            return json.dumps(value.data[4:-1].decode())
        found = json_util.dumps(raw.decoded(value), json_options=CANONICAL)
        if _parsed(found) == value:
            return found
    except (ValueError, TypeError, RecursionError, bson.errors.BSONError):
        pass  # Extended JSON has no words for it; its bytes tell it as exactly.
    return json.dumps({EXACT: f"{value.kind:02x}:{value.data.hex()}"})


def value(text: str) -> Value:
    """The value of a text that ``text`` made."""
    if text.startswith(f'{{"{EXACT}"'):
        kind, _, data = json.loads(text)[EXACT].partition(":")
        return Value(int(kind, 16), bytes.fromhex(data))
    return _parsed(text)


def _parsed(text: str) -> Value:
    return raw.encoded(parse(text))


def parse(text: str) -> Any:
    """What extended JSON says, as the driver has it."""
    return json_util.loads(text, json_options=CANONICAL)


def dump(value: Any) -> str:
    """Canonical extended JSON of what the driver has."""
    return json_util.dumps(value, json_options=CANONICAL)


def of(document: bytes) -> Key:
    """The key of a document."""
    return (text(raw.id_of(document)),)
