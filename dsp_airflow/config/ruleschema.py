"""The JSON Schema of `where` as rules."""

from __future__ import annotations

from typing import Any, Final

from dsp_airflow.config.rules import MOST_VALUES, OPERATORS

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Rules",
    "description": (
        "A rule, or rules joined by all, any or not. They mean the same on every system."
    ),
    "additionalProperties": False,
    "properties": {
        "all": {
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/$defs/Rules"},
            "description": "Rules that must all be true. Stands alone.",
        },
        "any": {
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/$defs/Rules"},
            "description": "Rules of which one must be true. Stands alone.",
        },
        "not": {
            "$ref": "#/$defs/Rules",
            "description": (
                "Rules that must be false. Stands alone. Of NULL a rule is neither true nor false."
            ),
        },
        "column": {
            "type": "string",
            "minLength": 1,
            "description": "Column to look at; of MongoDB's documents the path of a field.",
        },
        "operator": {
            "enum": list(OPERATORS),
            "description": (
                "=, !=, <, <=, >, >=, in, not_in, between (both ends belong to it), like (% stands "
                "for any characters, _ for one, \\ before a sign for the sign itself), "
                "starts_with, contains, is_null, is_not_null, or exists (of MongoDB: the field is "
                "there, be it null). Signs go in quotes."
            ),
        },
        "value": {
            "anyOf": [
                {"type": ["string", "number", "boolean"]},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MOST_VALUES,
                    "items": {"type": ["string", "number", "boolean"]},
                },
            ],
            "description": (
                "A constant, or :name of a variable; for in and not_in a list of them, for between "
                "a list of two. A text that begins with a colon and is no variable is written "
                "with two."
            ),
        },
    },
    "oneOf": [
        {"required": ["all"], "maxProperties": 1},
        {"required": ["any"], "maxProperties": 1},
        {"required": ["not"], "maxProperties": 1},
        {"required": ["column", "operator"]},
    ],
}
"""Of `where` as rules."""
