"""The JSON Schema of process files, published beside that of task files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsp_airflow.config.processes import (
    MAX_LEVELS,
    SEVERAL_LEVELS,
    Process,
    ProcessConnections,
)

PUBLISHED = Path(__file__).parents[2] / "dags" / "process.schema.json"
NULLABLE = {"Level": ("max_rows", "max_bytes", "max_statements"), "Node": ("role", "user")}

_EXAMPLE = {
    "name": "WarehouseChanges",
    "task_type": "warm",
    "connections": {"labels": ["production"]},
    "levels": [
        {"name": "low", "max_rows": 100000, "nodes": [{"role": "dataowners"}]},
        {"name": "high", "nodes": [{"role": "dataowners"}, {"role": "administrators"}]},
    ],
    "validity": {"approval": "24h", "waiting": "24h", "execution": "12h"},
}


def process_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a process file."""
    schema = Process.model_json_schema()
    definitions = schema.pop("$defs")
    definitions["ProcessConnections"] = ProcessConnections.model_json_schema()
    connections = schema["properties"]["connections"]
    del connections["type"]
    connections["anyOf"] = [{"const": "all"}, {"$ref": "#/$defs/ProcessConnections"}]
    for model, names in NULLABLE.items():
        for name in names:
            _without_null(definitions[model]["properties"][name])
    for period in definitions["ValidityPeriods"]["properties"].values():
        period["default"] = "24h"
    definitions["Level"]["properties"]["nodes"]["default"] = [{"role": "administrators"}]
    definitions["Node"] |= {
        "oneOf": [
            {"required": ["role"]},
            {"required": ["user"]},
            {"required": ["automatic"], "properties": {"automatic": {"const": True}}},
        ]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "DSP approval process",
        "description": "Who decides on which tasks, and for how long a decision holds.",
        **{key: value for key, value in schema.items() if key not in ("title", "description")},
        "examples": [_EXAMPLE],
        "if": {"properties": {"task_type": {"enum": sorted(SEVERAL_LEVELS)}}},
        "then": {"properties": {"levels": {"maxItems": MAX_LEVELS}}},
        "else": {"properties": {"levels": {"maxItems": 1}}},
        "$defs": dict(sorted(definitions.items())),
    }


def _without_null(field: dict[str, Any]) -> None:
    """In a file a key is written with a value or not at all."""
    choices = [choice for choice in field.pop("anyOf", ()) if choice.get("type") != "null"]
    for choice in choices:
        field |= choice
    field.pop("default", None)
