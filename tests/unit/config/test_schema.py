"""The published JSON Schema: current, true to the loader, and readable in an editor."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dsp_airflow.config import nodes, schema

EXAMPLES = Path(__file__).parents[3] / "dags" / "tasks"
CASES = Path(__file__).parent / "cases"


def plain(path: Path) -> Any:
    root, problems = nodes.read(path, str(path))
    assert root is not None
    assert problems == []
    return root.plain()


def test_the_published_file_is_current() -> None:
    assert schema.PUBLISHED.read_text(encoding="utf-8") == schema.schema_text()
    assert schema.main(["--check"]) == 0


def test_a_stale_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = tmp_path / "task.schema.json"
    assert schema.main(["--check", "--file", str(stale)]) == 1
    assert "is stale; run" in capsys.readouterr().err
    assert schema.main(["--write", "--file", str(stale)]) == 0
    assert schema.main(["--check", "--file", str(stale)]) == 0


def test_it_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.task_schema())


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    jsonschema.validate(plain(path), schema.task_schema())


def test_its_own_examples_are_valid() -> None:
    for example in schema.task_schema()["examples"]:
        jsonschema.validate(example, schema.task_schema())


@pytest.mark.parametrize(
    "case", ["check_101", "check_0_with_purge", "no_jobs", "required_keys", "missing_files"]
)
def test_bad_files_are_invalid(case: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain(CASES / case / "task.yaml"), schema.task_schema())


def test_every_key_has_a_description() -> None:
    published = schema.task_schema()
    parts = {"Task": published, **published["$defs"]}
    for part, definition in parts.items():
        assert definition["description"], part
        for key, field in definition["properties"].items():
            assert field.get("description"), f"{part}.{key}"


def test_files_are_accepted_where_the_loader_takes_them() -> None:
    job = {
        "name": "j",
        "type": "warm",
        "source": {"connection": "s", "table": "t"},
        "target": {"connection": "x"},
        "columns": {"file": "../schemas/users.yaml"},
    }
    task = {"name": "a", "jobs": [{"file": "../jobs/x.yaml"}, job]}
    jsonschema.validate(task, schema.task_schema())
