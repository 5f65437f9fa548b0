"""`dsp mark-deleted`: what somebody removed from the source by hand."""

from __future__ import annotations

from typing import Any

from tests.cli.harness import Done, Dsp, job


def mark(dsp: Dsp, run: str, batches: str, *more: object, **env: Any) -> Done:
    return dsp("mark-deleted", run, "--batches", batches, "--json", *more, **env)


def source_data(dsp: Dsp, run: str) -> list[str]:
    shown = dsp("status", run, "--json").document
    return [one["source_data"] for one in shown["batches"]["copy"]]


def test_batches_are_marked_once_they_are_gone(dsp: Dsp) -> None:
    dsp.fill(50)
    file = dsp.write(job(batch_size=10, purge="manual"))
    run = dsp("run", file, "--json").document["run"]
    dsp.source.execute("DELETE FROM t WHERE id <= 27")
    done = mark(dsp, run, "1-3")
    assert done.code == 4, done.err
    assert "batch 3: 3 rows still stand in the source (" in done.err
    assert "batch 2: 10 rows are recorded as removed by hand" in done.err
    assert "urg" not in done.err
    (refused,) = done.document["refused"]
    assert (refused["batch"], refused["rows"], sorted(refused["keys"])) == (
        3,
        3,
        ["28", "29", "30"],
    )
    assert (done.job["state"], done.job["rows_gone"]) == ("failed", 20)
    assert source_data(dsp, run) == ["processed"] * 2 + ["unprocessed"] * 3
    assert "10 rows found removed by hand" in dsp("status", run, env={"COLUMNS": "200"}).out
    dsp.source.execute("DELETE FROM t WHERE id <= 30")
    assert mark(dsp, run, "1-3").code == 0
    assert mark(dsp, run, "1-3").document["refused"] == []
    # A purge goes on with the others.
    assert dsp("purge", file, "--batches", "all", "--json").job["rows_purged"] == 20
    assert source_data(dsp, run) == ["processed"] * 5
    verified = dsp("status", "--verify", "--json")
    assert (verified.code, verified.document["receipts"]) == (0, 5)


def test_what_cannot_be_marked(dsp: Dsp) -> None:
    dsp.fill(20)
    file = dsp.write(
        job("a", target={"table": "a"}, purge="manual"),
        job("b", target={"table": "b"}, purge="manual"),
        job("c", target={"table": "c"}),
    )
    run = dsp("run", file, "--json").document["run"]
    dsp.source.execute("DELETE FROM t")
    for arguments, code, told in (
        (("1",), 2, "--job: a, b"),
        (("2", "--job", "a"), 2, "1 to 1"),
        (("1", "--job", "c"), 4, "purge: none"),
        (("1", "--job", "d"), 2, "has no job 'd'"),
    ):
        done = mark(dsp, run, *arguments)
        assert (done.code, told in done.err) == (code, True), done.err
    assert mark(dsp, "20200101T000000-aaaaaa", "1").code == 2
    moved = (dsp.folder / file).rename(dsp.folder / "moved.yaml")
    gone = mark(dsp, run, "1", "--job", "a")
    assert (gone.code, "--file" in gone.err) == (2, True)
    assert dsp("task", "offline", "task", "--reason", "x").code == 0
    assert "offline" in mark(dsp, run, "1", "--job", "a", "--file", moved).err
    assert dsp("task", "enable", "task", "--from-offline").code == 0
    done = mark(dsp, run, "1", "--job", "a", "--file", moved)
    assert (done.code, done.document["jobs"][0]["rows_gone"]) == (0, 20), done.err
