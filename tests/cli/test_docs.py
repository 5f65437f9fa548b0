"""docs/cli.md says what the command has: every command, argument, option and exit code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer.main

from dsp_airflow.cli.app import app
from dsp_airflow.cli.report import JOB_KEYS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def commands(group: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, f"{prefix}{name} ")
        else:
            found[prefix + name] = command
    return found


def sections() -> dict[str, str]:
    """Command to the text of its section, by headings such as: ### dsp run FILE."""
    parts = re.split(r"^### `dsp ([^`]+)`$", PAGE.read_text(), flags=re.MULTILINE)
    texts = {}
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        name = " ".join(re.findall(r"(?<![\w\[-])[a-z][a-z-]*(?![\w.])", heading))
        texts[name] = heading + re.split(r"^#{1,3} ", text, flags=re.MULTILINE)[0]
    return texts


def options(command: Any) -> set[str]:
    return {
        name
        for parameter in command.params
        if parameter.param_type_name == "option" and "--help" not in parameter.opts
        for name in parameter.opts
    }


def test_every_command_has_a_section_and_no_other() -> None:
    assert set(sections()) == set(commands(typer.main.get_command(app)))


def test_every_option_is_documented_and_no_other() -> None:
    texts = sections()
    for name, command in commands(typer.main.get_command(app)).items():
        table = re.findall(r"^\| (`[^|]+) \|", texts[name], flags=re.MULTILINE)
        documented = {part for cell in table for part in re.findall(r"`(--?[a-z][a-z-]*)", cell)}
        assert documented == options(command), name
        required = [p for p in command.params if p.param_type_name == "argument"]
        for argument in required:
            assert str(argument.metavar).strip("[].") in texts[name].splitlines()[0], name


def test_global_options_are_documented() -> None:
    text = PAGE.read_text()
    for name in options(typer.main.get_command(app)):
        assert f"`{name}`" in text


def test_the_document_is_documented() -> None:
    text = PAGE.read_text()
    for key in JOB_KEYS:
        assert f"`{key}`" in text
        assert f'"{key}"' in text


def test_exit_codes_are_those_of_the_errors() -> None:
    from dsp_airflow.engine import errors

    text = PAGE.read_text()
    codes = {int(code) for code in re.findall(r"^\| ([0-9]) \|", text, flags=re.MULTILINE)}
    raised = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DspError)
    }
    assert codes == raised | {0}
