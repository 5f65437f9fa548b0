"""The report of a run: who may read it, what it shows, and what it never shows."""

from __future__ import annotations

import re

import pytest

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.state.runs import Runs
from dsp_airflow.steps import TaskRun
from dsp_airflow.web import run_report
from tests.engine.scenes import Db, done, small
from tests.web.conftest import FORBIDDEN, Visit

HOSTILE = '<script>alert("x")</script>'


def path(run: TaskRun, dag: str = "task") -> str:
    return f"/dags/{dag}/runs/{run.run.id}"


def figures(text: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))


def test_a_run_that_goes_on_looks_again(bench: Db, visit: Visit) -> None:
    run = small(bench, 1500, batch_size=100)
    run.copy("copy")
    page = visit(path(run))
    assert page.status_code == 200
    assert '<meta http-equiv="refresh" content="5">' in page.text
    assert figures(page.text)["rows written"] == "1,500"
    assert "15 of 15 batches" in page.text
    assert "0 of 15 batches" in page.text
    assert "15 copied" in page.text
    run.check("copy")
    run.purge("copy")
    run.finish()
    page = visit(path(run))
    assert "refresh" not in page.text
    assert figures(page.text) | {"rows purged": "1,500", "rows kept": "0"} == figures(page.text)
    assert "15 purged" in page.text
    assert "source data: 15 processed" in page.text


def test_a_run_without_a_job_and_a_job_without_rows(bench: Db, visit: Visit) -> None:
    run = small(bench, 0)
    assert "No batches: nothing to copy." in visit(path(run)).text
    bench.write(bench.job(), name="other")
    other = bench.open(new=True)
    other.runs.request_stop(other.run.id, "ann", HOSTILE)
    text = visit(path(other, "other")).text
    assert "No job has begun yet." in text
    assert "ann asked it to stop: &lt;script&gt;" in text


def test_differences_are_named_and_their_values_are_not(bench: Db, visit: Visit) -> None:
    bench.source.execute(
        "CREATE TABLE t (id text PRIMARY KEY, v text)",
        f"INSERT INTO t VALUES ('{HOSTILE}', 'the value of the source')",
    )
    bench.write(bench.job(check={"percent": 100}, report_values=True))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.target.execute("UPDATE t SET v = 'the value of the target'")
    with pytest.raises(Mismatch) as error:
        run.check("copy")
    run.finish(error.value)
    assert bench.state is not None
    (difference,) = Runs(bench.state).differences(run.run.id)
    assert "the value of the target" in difference.difference.target
    text = visit(path(run)).text
    assert "&lt;script&gt;alert(" in text
    assert "<script" not in text
    assert "Rows that differ or were kept" in text
    assert "the value of" not in text
    assert figures(text)["rows different"] == "1"


def test_errors_are_shown_as_text(bench: Db, visit: Visit) -> None:
    run = small(bench)
    run.runs.move(run.run.id, "copy", "failed", HOSTILE)
    run.finish(ValueError(HOSTILE + "again"))
    text = visit(path(run)).text
    assert "<script" not in text
    assert "&lt;/script&gt;again" in text


def test_many_batches_and_differences_are_counted_not_listed(
    bench: Db, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_report, "CELLS", 5)
    monkeypatch.setattr(run_report, "LISTED", 3)
    run = done(small(bench, 10, batch_size=1))
    bench.source.execute("UPDATE t SET v = 'changed'")
    run.purge("copy")
    text = visit(path(run)).text
    assert "10 kept" in text
    assert 'class="cells"' not in text
    assert "7 more: dsp status" in text
    assert text.count("changed in the source since the copy") == 3


# Who may read it


def test_nobody_reads_without_a_login(bench: Db, visit: Visit) -> None:
    run = small(bench)
    page = visit(path(run), login=False)
    assert (page.status_code, page.json()) == (401, {"detail": "Not authenticated"})
    person = visit(path(run), login=False, accept="text/html,*/*")
    assert person.status_code == 303
    assert person.headers["location"].startswith("/auth/login?next=http%3A%2F%2F")
    assert visit(path(run), login=False, authorization="Bearer x").status_code == 403


def test_nobody_reads_of_a_dag_that_is_not_for_them(bench: Db, visit: Visit) -> None:
    bench.source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    bench.write(bench.job(), name=FORBIDDEN)
    run = bench.open()
    page = visit(path(run, FORBIDDEN))
    assert (page.status_code, page.json()) == (403, {"detail": "Forbidden"})
    # Nor through a DAG that is for them.
    assert visit(path(run, "task")).status_code == 404


def test_a_run_of_airflow_belongs_to_the_dag_that_ran_it(bench: Db, visit: Visit) -> None:
    run = small(bench)
    with bench.state.write() as connection:
        connection.exec_driver_sql(
            "UPDATE runs SET external_key = 'by_hand/manual__1/copy', dag = 'by_hand'"
        )
    page = visit(path(run, "by_hand"))
    assert page.status_code == 200
    assert '<a href="../../../../dags/by_hand/runs/manual__1">DAG run in Airflow</a>' in page.text
    assert visit(path(run, "task")).status_code == 404
    assert visit("/dags/by_hand/runs/nothing").status_code == 404


def test_nothing_else_is_served(bench: Db, visit: Visit) -> None:
    for other in ("/docs", "/openapi.json", "/redoc", "/"):
        assert visit(other, login=False).status_code == 404


def test_a_missing_state_database_is_no_traceback(
    bench: Db, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small(bench)
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", f"sqlite:///{bench.folder}/none.db")
    page = visit(path(run))
    assert page.status_code == 503
    assert "none.db" in page.json()["detail"]


def test_the_page_keeps_to_itself(bench: Db, visit: Visit) -> None:
    page = visit(path(small(bench)))
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


def test_importing_the_plugin_imports_no_pages() -> None:
    import subprocess
    import sys

    code = (
        "import dsp_airflow.web.plugin as p, sys; "
        "print('dsp_airflow.web.app' in sys.modules, p.DspPlugin.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "dsp"]
