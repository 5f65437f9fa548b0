"""Every folder under `cases` holds a wrong `task.yaml` and the exact messages it must give."""

import os
from pathlib import Path

import pytest

from dsp_airflow.config import ConfigProblems, load_task

CASES = Path(__file__).parent / "cases"


def messages(folder: Path) -> str:
    with pytest.raises(ConfigProblems) as raised:
        load_task(folder / "task.yaml")
    return str(raised.value).replace(f"{folder}{os.sep}", "") + "\n"


@pytest.mark.parametrize("name", sorted(case.name for case in CASES.iterdir()))
def test_messages(name: str) -> None:
    found = messages(CASES / name)
    expected = CASES / name / "expect.txt"
    if os.environ.get("DSP_WRITE_CASES"):
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")
