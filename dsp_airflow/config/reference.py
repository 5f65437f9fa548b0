"""The reference of all keys of a task file, for `docs/task-files.md`, from the JSON Schema.

Run as ``python -m dsp_airflow.config.reference --write`` or ``--check``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dsp_airflow.config.schema import task_schema

PAGE = Path(__file__).parents[2] / "docs" / "task-files.md"
BEGIN = "<!-- reference: begin -->"
END = "<!-- reference: end -->"
SECTIONS = {
    "Task": None,
    "Job (`type: warm`)": "WarmJob",
    "Job (`type: s3`)": "S3Job",
    "Job (`type: restore`)": "RestoreJob",
    "`source` of a warm or S3 job": "Source",
    "`source` of a restore job": "ArchiveSource",
    "`target` of a warm job": "Target",
    "`target` of an S3 job": "S3Target",
    "An entry of `partitions`": "Partitioning",
    "`target` of a restore job": "RestoreTarget",
    "`where` as rules": "Rules",
    "An entry of `columns`": "ColumnMapping",
    "`cursor`": "Cursor",
    "`step`": "Step",
    "`delete_missing`": "DeleteMissing",
    "`check`": "Check",
    "`timeouts`": "Timeouts",
    "`limits`": "Limits",
    "`replica_lag`": "ReplicaLag",
    "`notify`": "Notify",
    "`schedule: {once: ...}`": "Once",
    "`{file: ...}`": "FileReference",
}


def reference() -> str:
    """Markdown: one table for each kind of mapping in a task file."""
    schema = task_schema()
    parts = []
    for title, name in SECTIONS.items():
        model = schema if name is None else schema["$defs"][name]
        required = set(model.get("required", ()))
        rows = [_row(key, told, key in required) for key, told in model["properties"].items()]
        parts.append(
            "\n".join(
                [f"### {title}", "", "| key | default | what it says |", "|---|---|---|", *rows]
            )
        )
    return "\n\n".join(parts)


def _row(key: str, told: dict[str, Any], required: bool) -> str:
    default = told.get("default")
    shown = "required" if required else "" if default in (None, "", [], {}) else f"`{default}`"
    description = told.get("description", "").replace("|", "\\|").replace("<", "&lt;")
    return f"| `{key}` | {shown} | {description} |"


def page(text: str) -> str:
    """The page with the reference between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Writes the page, or says whether it is current."""
    text = PAGE.read_text(encoding="utf-8")
    wanted = page(text)
    if "--check" in arguments:
        if text != wanted:
            sys.stderr.write("docs/task-files.md is stale; run make schema\n")
            return 1
        return 0
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
