"""`dsp plan`: everything shown, nothing changed."""

from __future__ import annotations

import re

from tests.cli.harness import Dsp, job


def tables(dsp: Dsp) -> list[tuple[str]]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    return dsp.target.rows(query)


def test_shows_all_and_changes_nothing(dsp_on_each: Dsp) -> None:
    dsp = dsp_on_each
    dsp.fill(1000)
    file = dsp.write(
        job(
            columns=[
                {"source": "id", "target": "user_id"},
                {"source": "amount", "type": "decimal(6,1)"},
            ],
            where="id <= :top",
            variables={"top": 500},
            batch_size=100,
            check={"percent": 20},
        )
    )
    done = dsp("plan", file)
    assert done.code == 0, done.err
    for part in (
        "public.t (will be created)",
        "user_id",
        "lossy",
        "not copied: name",
        "5 of up to 100 rows",
        "500 (",
        "1 batches (20 %)",
        "Creates: CREATE TABLE",
        "Purge refused: ",
    ):
        assert part in done.out, part
    assert not dsp.home.exists()
    assert tables(dsp) == []
    document = dsp("plan", file, "--json").document
    (found,) = document["jobs"]
    assert (found["name"], found["plan"]["rows"], found["plan"]["batches"]) == ("copy", 500, 5)
    assert found["error"] is None
    assert len(found["sampled"]) == 1


def test_the_kind_of_a_table_is_shown(dsp: Dsp) -> None:
    dsp.source.execute(
        "CREATE TABLE p (id int, v text) PARTITION BY LIST (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)",
        "CREATE TABLE p2 PARTITION OF p DEFAULT",
        "INSERT INTO p VALUES (1, 'a'), (1, 'a')",
    )
    done = dsp("plan", dsp.write(job(table="public.p")))
    assert done.code == 0, done.err
    for part in ("public.p (partitioned table of 2 parts)", "none: copied as a whole", "no key"):
        assert part in done.out, part


def test_a_refused_purge_is_shown_with_the_plan(dsp: Dsp) -> None:
    dsp.fill(10)
    dsp.source.execute(
        "CREATE TABLE child (id int PRIMARY KEY, t bigint REFERENCES t ON DELETE CASCADE)"
    )
    file = dsp.write(job(purge="system"))
    done = dsp("plan", file)
    assert done.code == 4
    assert "Purge refused: " in done.out
    assert "child" in done.err


def test_one_bad_job_hides_no_other(dsp: Dsp) -> None:
    dsp.fill(10)
    file = dsp.write(job("good"), job("bad", "nope"))
    done = dsp("plan", file)
    assert done.code == 2
    assert "Job good" in done.out
    assert "nope" in done.err
    good, bad = dsp("plan", file, "--json").document["jobs"]
    assert good["plan"] is not None
    assert bad["plan"] is None
    assert "nope" in bad["error"]
    assert dsp("plan", file, "--job", "good").code == 0


def test_a_bad_file_is_a_document_too(dsp: Dsp) -> None:
    done = dsp("plan", "nope.yaml", "--json")
    assert done.code == 2
    assert "nope.yaml" in done.document["error"]


def test_a_rule_that_does_not_fit_is_told_with_its_place(dsp: Dsp) -> None:
    dsp.fill(10)
    where = {
        "all": [
            {"column": "id", "operator": "<", "value": ":top"},
            {"not": {"column": "nmae", "operator": "starts_with", "value": "n"}},
        ]
    }
    file = dsp.write(job(where=where, variables={"top": 5}))
    wrong = (dsp.folder / file).read_text().split("\n")
    line = next(n for n, text in enumerate(wrong, 1) if "nmae" in text)
    done = dsp("plan", file)
    assert done.code == 2
    assert f"task.yaml:{line}:17: job copy: where.all[1].not.column: " in done.err
    assert "has no column 'nmae'; did you mean name?" in done.err
    where["all"][1] = {"column": "name", "operator": "contains", "value": "5"}
    file = dsp.write(job(where=where, variables={"top": "five"}))
    done = dsp("run", file)
    assert done.code == 2
    assert "where.all[0].value: :top is 'five', and id is bigint: write a number" in done.err
    file = dsp.write(job(where={"not": where}, variables={"top": 9}))
    done = dsp("plan", file)
    assert done.code == 0, done.err
    # Not (id < 9 and name like %5%): all but 5.
    assert "9 (" in done.out


def test_the_name_of_a_run_is_shown(dsp: Dsp) -> None:
    dsp.fill(10)
    file = dsp.write(
        job("monthly", target={"table": "public.t_{{ now-1M:%Y_%m }}"}),
        job("by_interval", target={"table": "public.i_{{ data_interval_start:%Y }}"}),
    )
    done = dsp("plan", file)
    assert done.code == 2
    assert re.search(r"public\.t_20\d\d_\d\d \(will be created\)", done.out)
    assert "needs data_interval_start and this run has none" in done.err
    assert tables(dsp) == []
