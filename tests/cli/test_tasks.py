"""`dsp task`: what there is, and whether it may run. With an Airflow: see tests/e2e."""

from __future__ import annotations

from datetime import datetime

from tests.cli.harness import Dsp, job


def test_a_task_is_listed_switched_off_and_on(dsp: Dsp) -> None:
    dsp.fill(10)
    file = dsp.write(job(purge="manual"), schedule="30 2 * * *")
    dsp.write(job(), file="later.yaml", name="later", schedule={"once": "2999-01-01T02:00+07:00"})
    (dsp.folder / "broken.yaml").write_text("name: broken\njobs: 1\n")
    here = ("--folder", dsp.folder)
    dsp("run", file)

    broken, later, task = dsp("task", "list", *here, "--json").document["tasks"]
    assert (task["name"], task["types"], task["schedule"]) == ("task", ["warm"], "30 2 * * *")
    assert (task["state"], task["last_state"], task["paused"]) == ("enabled", "succeeded", None)
    assert datetime.fromisoformat(task["next_at"]).strftime("%H:%M%z") == "02:30+0000"
    assert later["next_at"] == "2999-01-01T02:00:00+07:00"
    assert "broken.yaml:2" in broken["problem"]
    assert "broken file" in dsp("task", "list", *here).out

    off = dsp("task", "disable", "task", "--reason", "moving house", *here)
    assert off.out.startswith("Task task is disabled by ")
    assert "Airflow is not set up here: its DAG task is left as it is" in off.err
    refused = dsp("run", file)
    assert refused.code == 4
    assert "(moving house), so no run of it begins; dsp task enable task" in refused.err
    shown = dsp("task", "show", "task", *here)
    assert "disabled by" in shown.out
    assert "succeeded" in shown.out
    assert dsp("task", "show", "task", *here, "--json").document["next_at"] is None
    # Nothing of Airflow has appeared.
    assert sorted(path.name for path in dsp.home.iterdir()) == ["dsp.db"]

    dsp("task", "offline", "task", *here)
    back = dsp("task", "enable", "task", *here)
    assert (back.code, "only by dsp task enable task --from-offline" in back.err) == (4, True)
    assert "--from-offline" in dsp("purge", file, "--batches", "all", "--yes").err
    assert dsp("task", "enable", "task", "--from-offline", *here).code == 0
    assert dsp("run", file).code == 0

    unknown = dsp("task", "disable", "tusk", *here)
    assert (unknown.code, "no task 'tusk'" in unknown.err) == (2, True)
    now = dsp("task", "run", "task", *here)
    assert (now.code, "dsp run" in now.err) == (2, True)
