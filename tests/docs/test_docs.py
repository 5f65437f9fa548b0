"""The documentation names what there is, and only that."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from dsp_airflow.approval import mails
from dsp_airflow.notify.remedies import REMEDIES
from dsp_airflow.provider_info import get_provider_info
from dsp_airflow.state import tables
from dsp_airflow.state.records import BatchState, SourceData

ROOT = Path(__file__).parents[2]
MAILS, TEXT = "dsp_airflow/approval/mails.py", "dsp_airflow/notify/text.py"
TABLE = r"^\| ([^|]+) \|.*\n\|---.*\n((?:\|.*\n)+)"
"""Its first head, and its rows."""
ASKED = ("APPROVAL NEEDED", "APPROVED", "REJECTED", "CANCELLED", "EXPIRED")
"""What mails about requests begin with."""
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_reference_of_keys_is_current() -> None:
    done = subprocess.run(
        [ROOT / ".venv/bin/python", "-m", "dsp_airflow.config.reference", "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr


def test_every_setting_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES).upper()
    for section, told in get_provider_info()["config"].items():
        for option in told["options"]:
            assert f"AIRFLOW__{section}__{option}".upper() in text


def test_every_setting_is_in_the_operations_page() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    table = text.partition("## Settings")[2].partition("\n## ")[0]
    options = get_provider_info()["config"]["dsp"]["options"]
    names = {f"AIRFLOW__DSP__{option}".upper() for option in options}
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == names


@pytest.mark.parametrize(
    ("heads", "states"),
    [
        ("run", tables.RUN_STATES),
        ("job", tables.JOB_STATES),
        ("batch", get_args(BatchState)),
        ("source data of a batch", get_args(SourceData)),
        ("request", tables.REQUEST_STATES),
        ("mail", tables.MAIL_STATES),
        ("mail", (mails.WAITING, mails.DECIDED, mails.EXPIRED)),
        ("state", tables.TASK_STATES),
    ],
)
def test_every_state_and_mail_is_in_the_operations_page(
    heads: str, states: tuple[str, ...]
) -> None:
    """In a table of its kind, with what to do."""
    text = (ROOT / "docs/operations.md").read_text()
    found = []
    for head, rows in re.findall(TABLE, text, re.MULTILINE):
        cells = " ".join(re.findall(r"^\|([^|]+)\|", rows, re.MULTILINE))
        if head == heads:
            found.append(set(re.findall(r"`([^`]+)`", cells)))
    assert set(states) in found


def test_the_ends_that_mails_tell_are_in_the_operations_page() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    words = set(re.findall(r'"([A-Z]{3,}[A-Z ]*)"', (ROOT / MAILS).read_text()))
    words |= set(re.findall(r'"(FAILED|OK|TERMINATED)"', (ROOT / TEXT).read_text()))
    assert words == {"FAILED", "OK", "TERMINATED", *ASKED}
    assert [word for word in words if f"`[dsp] {word}" not in text] == []


def test_what_mails_advise_is_in_the_operations_page() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    assert [one.words for one in REMEDIES if f"`{one.words}`" not in text] == []


def test_commands_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for command in set(re.findall(r"(?:^|/)dsp ([a-z][a-z-]+)", text, re.MULTILINE)):
        done = subprocess.run(
            [ROOT / ".venv/bin/dsp", command, "--help"], capture_output=True, check=False
        )
        assert done.returncode == 0, command


def test_yaml_in_the_pages_is_a_valid_task(tmp_path: Path) -> None:
    tried = 0
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
            if "jobs:" in block:
                file = tmp_path / f"{tried}.yaml"
                file.write_text(block)
                done = subprocess.run(
                    [ROOT / ".venv/bin/dsp", "lint", file],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{page.name}: {done.stderr}{done.stdout}"
                tried += 1
    assert tried >= 2
