"""What makes a collection: commands, as extended JSON without and with its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dsp_airflow.engine.model import NativeType
from dsp_airflow.engine.stores.mongodb import keys


def need(name: str, command: Mapping[str, Any]) -> NativeType:
    """A command that some collection was made with; its first field is empty."""
    text = keys.dump(command)
    return NativeType(name, text, text)


def named(needs: Sequence[NativeType], collection: str) -> tuple[str, ...]:
    """The commands that make a collection of this name; without any a plain one."""
    made = []
    for one in needs or [need("options", {"create": ""})]:
        command = keys.parse(one.statement)
        first = next(iter(command))
        made.append(keys.dump({**command, first: collection}))
    return tuple(made)
