"""Task files that are remembered: read again once they changed, and only then."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dsp_airflow.config import known_files
from dsp_airflow.config.errors import ConfigProblems
from dsp_airflow.config.known_files import KnownFiles

TASK = """\
name: {name}
jobs:
  - name: one
    type: warm
    source: {{connection: a, table: t}}
    target: {{connection: b}}
    check: none
"""


def old(path: Path, text: str) -> Path:
    """A file that was written a while ago, as far as its clock tells."""
    path.write_text(text)
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))
    return path


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> KnownFiles:
    # When the inode changed last nobody can set.
    monkeypatch.setattr(known_files, "_SETTLED_NS", -1)
    return KnownFiles()


def test_a_file_is_read_again_once_it_changed(known: KnownFiles, tmp_path: Path) -> None:
    file = old(tmp_path / "a.yaml", TASK.format(name="one"))
    assert known.names(tmp_path) == {"one": file}
    first = known.task(file)
    assert known.task(file) is first
    # As long as the other text, and with its time set back.
    old(file, TASK.format(name="two"))
    assert known.names(tmp_path) == {"two": file}
    assert known.task(file).name == "two"
    old(file, "name: two\n")
    for _ in range(2):
        with pytest.raises(ConfigProblems):
            known.task(file)
    old(file, TASK.format(name="two"))
    assert known.task(file).name == "two"
    file.unlink()
    assert known.names(tmp_path) == {}
    with pytest.raises(ConfigProblems):
        known.task(file)


def test_what_other_files_say_is_not_remembered(known: KnownFiles, tmp_path: Path) -> None:
    job = old(
        tmp_path / "job.yaml",
        "name: one\ntype: warm\nsource: {connection: a, table: t}\ntarget: {connection: b}\n"
        "check: none\n",
    )
    file = old(tmp_path / "a.yaml", "name: whole\njobs:\n  - {file: job.yaml}\n")
    assert known.task(file).jobs[0].name == "one"
    old(job, job.read_text().replace("name: one", "name: two"))
    assert known.task(file).jobs[0].name == "two"


def test_a_file_of_this_moment_is_not_remembered(tmp_path: Path) -> None:
    """It may be written again within one tick of the file system's clock."""
    file = tmp_path / "a.yaml"
    file.write_text(TASK.format(name="one"))
    known = KnownFiles()
    assert known.task(file) is not known.task(file)
