"""`dsp plan`: everything shown, nothing changed."""

from __future__ import annotations

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
