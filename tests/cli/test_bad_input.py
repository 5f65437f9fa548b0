"""What a person gets wrong: a message that names it, the exit code, and one document still."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import Done, Dsp, job


def failed(done: Done) -> dict[str, Any]:
    """The document of a command that failed."""
    document = done.document
    assert list(document)[:4] == ["task", "run", "state", "jobs"]
    assert document["state"] == "failed"
    assert document.get("error") or any(one["error"] for one in document["jobs"])
    return document


def test_broken_yaml(dsp: Dsp) -> None:
    (dsp.folder / "task.yaml").write_text("name: task\njobs:\n  - name: [\n")
    done = dsp("run", "task.yaml", "--json")
    assert done.code == 2
    assert done.err.startswith("task.yaml:")
    assert failed(done)["task"] == "task"
    assert not dsp.home.exists()


def test_every_problem_of_a_file_at_once(dsp: Dsp) -> None:
    file = dsp.write(job(batch_sise=5, check={"percent": 101}))
    done = dsp("run", file)
    assert done.code == 2
    assert "batch_size" in done.err
    assert "101" in done.err


def test_missing_file(dsp: Dsp) -> None:
    done = dsp("run", "nope.yaml", "--json")
    assert done.code == 2
    assert "nope.yaml" in done.err
    assert failed(done)["task"] is None


def test_missing_table_names_the_nearest(dsp: Dsp) -> None:
    dsp.fill(10, "customers")
    done = dsp("run", dsp.write(job("one", "costumers")), "--json")
    assert done.code == 2
    assert "costumers" in done.err
    assert "customers?" in done.err
    (found,) = failed(done)["jobs"]
    assert (found["name"], found["state"]) == ("one", "failed")


def test_wrong_password(dsp: Dsp) -> None:
    dsp.fill(10)
    server = dsp.target.server
    dsp.connections["target"] = server.uri(dsp.target.name, password="wrong-password")
    file = dsp.write(job())
    for command in (("run", file, "--json"), ("plan", file), ("check-connection", "target")):
        done = dsp(*command)
        assert done.code == 4, done.err
        assert "password" in done.err
        assert "target" in done.err
        assert "wrong-password" not in done.out + done.err


def test_unreachable(dsp: Dsp) -> None:
    dsp.connections["source"] = "postgresql://somebody:password@127.0.0.1:1/nowhere"
    file = dsp.write(job())
    for command in (("run", file, "--json"), ("plan", file), ("check-connection", "source")):
        done = dsp(*command)
        assert done.code == 1, done.err
        assert "127.0.0.1:1" in done.err


def test_no_such_connection(dsp: Dsp) -> None:
    file = dsp.write(job(source={"connection": "nobody"}))
    done = dsp("run", file, "--json")
    assert done.code == 2
    assert "AIRFLOW_CONN_NOBODY" in done.err
    assert "nobody" in failed(done)["jobs"][0]["error"]
    assert dsp("check-connection", "nobody").code == 2


def test_state_database_of_another_version(dsp: Dsp) -> None:
    dsp.fill(10)
    file = dsp.write(job())
    assert dsp("db", "upgrade").code == 0
    with sqlite3.connect(dsp.state) as connection:
        connection.execute("UPDATE dsp_version SET version_num = '9999'")
    connection.close()
    for command in (("run", file, "--json"), ("status",), ("db", "version")):
        done = dsp(*command)
        assert done.code == 2
        assert "newer than this package" in done.err


def test_state_database_without_tables(dsp: Dsp) -> None:
    dsp.fill(10)
    setting = {"AIRFLOW__DSP__SQL_ALCHEMY_CONN": dsp.target.uri}
    done = dsp("run", dsp.write(job()), "--json", env=setting)
    assert done.code == 2
    assert "dsp db upgrade" in done.err
    assert dsp("db", "upgrade", env=setting).code == 0
    assert dsp("run", "task.yaml", "--json", env=setting).code == 0
    assert not dsp.home.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("nope",),
        ("run", "task.yaml", "--nope"),
        ("check", "task.yaml", "--percent", "0"),
        ("check", "task.yaml", "--percent", "101"),
        ("check", "task.yaml", "--percent", "nan"),
        ("purge", "task.yaml"),
        ("purge", "task.yaml", "--batches", "5-1"),
        ("db", "prune", "--older-than", "90"),
        ("check", "task.yaml"),
        ("purge", "task.yaml", "--batches", "all"),
        ("status", "nope"),
        ("lint",),
        ("lint", "nope"),
    ],
)
def test_usage(dsp: Dsp, arguments: tuple[str, ...]) -> None:
    dsp.write(job(purge="manual"))
    done = dsp(*arguments)
    assert done.code == 2, done.err
    assert done.err


def test_a_defect_is_one_line_and_a_file(dsp: Dsp) -> None:
    dsp.fill(10)
    file = dsp.write(job())
    broken = dsp.folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import dsp_airflow.engine.plan as p\n"
        "def broken(*a, **k): raise KeyError('made for this test')\n"
        "p.plan_job = broken\n"
    )
    env = {"PYTHONPATH": str(broken), "TMPDIR": str(dsp.folder)}
    done = dsp("run", file, "--json", env=env)
    assert done.code == 1
    error, where = done.lines[-2:]
    assert error == "[ERROR] KeyError: 'made for this test'"
    assert "--debug" in where
    (kept,) = dsp.folder.glob("dsp-traceback-*.txt")
    assert str(kept) in where
    assert "made for this test" in Path(kept).read_text()
    assert failed(done)["task"] == "task"
