"""The JSON Schema of task files, which editors use for completion and hover text.

`python -m dsp_airflow.config.schema --write` publishes it and that of process files, `--check`
tells whether the published ones are current.
"""

from __future__ import annotations

import argparse
import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

from dsp_airflow.config import process_schema
from dsp_airflow.config.rules import TELLING
from dsp_airflow.config.ruleschema import SCHEMA as RULES
from dsp_airflow.config.tasks import FileReference, Once, Task

PUBLISHED = Path(__file__).parents[2] / "dags" / "task.schema.json"
JOBS = ("WarmJob", "S3Job", "RestoreJob")

_EXAMPLE = {
    "name": "flights_archive",
    "schedule": "0 2 * * *",
    "notify": {"when": "failure", "to": ["oncall@example.com"]},
    "jobs": [
        {
            "name": "flights_warm",
            "type": "warm",
            "source": {"connection": "shop_pg", "table": "public.flights"},
            "target": {"connection": "warehouse_pg"},
            "where": "time_hour < :cutoff",
            "variables": {"cutoff": "now-90d"},
            "check": {"percent": 10},
            "purge": "manual",
        }
    ],
}


def task_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a task file;
    `$defs/WarmJob`, `$defs/S3Job` and `$defs/RestoreJob` are those of job files.
    """
    schema = Task.model_json_schema()
    definitions = schema.pop("$defs")
    definitions["Once"] = Once.model_json_schema()
    schedule = schema["properties"]["schedule"]
    schedule["anyOf"] = [{"type": schedule.pop("type")}, {"$ref": "#/$defs/Once"}]
    definitions["FileReference"] = FileReference.model_json_schema()
    definitions["Rules"] = deepcopy(RULES)
    reference = {"$ref": "#/$defs/FileReference"}
    jobs = schema["properties"]["jobs"]
    jobs["items"] = {"anyOf": [*jobs["items"]["oneOf"], reference]}
    for job in JOBS:
        properties = definitions[job]["properties"]
        properties["where"]["anyOf"] = _where(properties["where"]["anyOf"])
        properties["check"]["anyOf"] = [{"$ref": "#/$defs/Check"}, {"const": "none"}]
        if "columns" in properties:
            properties["columns"]["anyOf"].append(reference)
            properties["variables"]["additionalProperties"] = False
    del definitions["ColumnMapping"]["properties"]["constant"]["default"]
    for part in (schema, *definitions.values()):
        for name, field in part["properties"].items():
            if name != "constant":
                _without_null(field)
    _add_defaults(schema, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "DSP task",
        "description": "A task of dsp_airflow: which tables to copy, check and purge, and when.",
        **{key: value for key, value in schema.items() if key not in ("title", "description")},
        "examples": [_EXAMPLE],
        "$defs": dict(sorted(definitions.items())),
    }


def _where(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The choices with rules among them; a mapping with their keys is no query document."""
    telling = {"anyOf": [{"required": [key]} for key in TELLING]}
    others = [{**one, "not": telling} if one.get("type") == "object" else one for one in choices]
    return [*others[:1], {"$ref": "#/$defs/Rules"}, *others[1:]]


def schema_text() -> str:
    """The schema as it stands in the published file."""
    return _text(task_schema())


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Writes the published schema, or with `--check` exits 1 when it is stale."""
    parser = argparse.ArgumentParser(prog="python -m dsp_airflow.config.schema")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--write", action="store_true", help="write the schema (the default)")
    choice.add_argument("--check", action="store_true", help="exit 1 when the file is stale")
    parser.add_argument("--file", type=Path, default=PUBLISHED, help="default: %(default)s")
    options = parser.parse_args(arguments)
    texts = {
        options.file: schema_text(),
        options.file.with_name(process_schema.PUBLISHED.name): _text(
            process_schema.process_schema()
        ),
    }
    stale = [file for file, text in texts.items() if not _holds(file, text)]
    for file in stale:
        if options.check:
            remedy = "run: python -m dsp_airflow.config.schema --write"
            sys.stderr.write(f"{file} is stale; {remedy}\n")
        else:
            file.write_text(texts[file], encoding="utf-8")
    return 1 if options.check and stale else 0


def _holds(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8") == text


def _without_null(field: dict[str, Any]) -> None:
    """Takes null from the choices: in a file a key is written with a value or not at all."""
    choices = [choice for choice in field.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1 and "anyOf" in field:
        del field["anyOf"]
        field.update(choices[0])
    elif choices:
        field["anyOf"] = choices
    if "default" in field and field["default"] is None:
        del field["default"]


def _add_defaults(schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Defaults as an author writes them, where the model holds another form."""
    schema["properties"]["timeout"]["default"] = "24h"
    schema["properties"]["retry_delay"]["default"] = "5m"
    for name in JOBS:
        job = definitions[name]["properties"]
        job["max_row_size"]["default"] = "64MiB"
        job["check"]["default"] = {"percent": 100 if name == "RestoreJob" else 10}
    definitions["Timeouts"]["properties"]["lock"]["default"] = "30s"
    definitions["Step"]["properties"]["zone"]["default"] = "UTC"


if __name__ == "__main__":
    sys.exit(main())
