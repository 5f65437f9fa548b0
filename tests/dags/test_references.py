"""Tables that refer to one another, archived to S3 and purged by the steps of one DAG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.dags.conftest import Stepper, World
from tests.dags.test_archive import place
from tests.servers.s3 import Place

__all__ = ["place"]
SHOP = """
CREATE TABLE customers (id int PRIMARY KEY, closed date);
CREATE TABLE orders (id int PRIMARY KEY,
  customer int CONSTRAINT of_customer REFERENCES customers ON DELETE CASCADE);
CREATE TABLE parts (id int PRIMARY KEY,
  order_id int CONSTRAINT of_order REFERENCES orders ON DELETE CASCADE);
CREATE TABLE notes (id int PRIMARY KEY,
  customer int CONSTRAINT on_customer REFERENCES customers ON DELETE SET NULL,
  part int CONSTRAINT on_part REFERENCES parts ON DELETE CASCADE);
INSERT INTO customers SELECT n, '2026-01-01'::date + n FROM generate_series(1, 60) n;
INSERT INTO orders SELECT n, n FROM generate_series(1, 60) n;
INSERT INTO parts SELECT n, n FROM generate_series(1, 60) n;
INSERT INTO notes SELECT n, n, CASE WHEN n < 60 THEN n + 1 END FROM generate_series(1, 60) n
"""
ABOVE = {"customers": None, "orders": "customers", "parts": "orders", "notes": "parts"}


def task(bucket: str, *tables: str) -> str:
    jobs = ""
    for table in tables:
        above = ABOVE[table]
        chosen = f"belongs_to: {above}" if above else 'where: "closed < :cutoff"'
        variables = "" if above else 'variables: {cutoff: "2026-02-01"}\n    '
        jobs += f"""
  - name: {table}
    type: s3
    source: {{connection: flights_source, table: public.{table}}}
    target: {{connection: archive_s3, bucket: {bucket}, prefix: "it/{table}"}}
    {chosen}
    {variables}batch_size: 8
    check: {{percent: 100}}
    purge: system"""
    return f"name: it\njobs:{jobs}\n"


def ids(world: World, table: str) -> set[int]:
    return {row[0] for row in world.source.rows(f"SELECT id FROM {table}")}


def test_leaf_to_root(world: World, place: Place, steps: Callable[..., Stepper]) -> None:
    """Notes refer to both ends of the chain, and stand last in the file: they go first."""
    world.source.execute(*SHOP.split(";\n"))
    step = steps(task(place.name, *ABOVE))
    for table in ABOVE:
        for name in ("plan", "archive", "check"):
            step(f"{table}.{name}")
    found: dict[str, Any] = {table: step(f"purge.{table}") for table in ABOVE}
    # Customer 30 is the last of the job; the note of part 30 is 29, and note 30 is of part 31.
    assert {table: one["rows_purged"] for table, one in found.items()} == {
        "customers": 29,
        "orders": 30,
        "parts": 30,
        "notes": 29,
    }
    assert ids(world, "notes") == set(range(30, 61))
    assert ids(world, "orders") == ids(world, "parts") == set(range(31, 61))
    # What refers to it was never its order's.
    assert ids(world, "customers") == set(range(30, 61))
    assert world.source.value("SELECT count(*) FROM notes WHERE customer IS NULL") == 0
    assert world.runs.recent()[0].state == "succeeded"


def test_a_refusal_is_the_error_of_its_step(
    world: World, place: Place, steps: Callable[..., Stepper]
) -> None:
    world.source.execute(*SHOP.split(";\n"))
    step = steps(task(place.name, "customers", "orders", "parts"))
    path = (
        r"public\.customers -> public\.orders -> public\.parts -> public\.notes "
        r"\(ON DELETE CASCADE, on_part\): deleting would change rows of public\.notes"
    )
    with pytest.raises(AirflowFailException, match=path):
        step("customers.plan")
    (job,) = world.runs.summary(world.runs.recent()[0].id).jobs
    assert job.state == "failed"
    assert "public.notes (ON DELETE SET NULL, on_customer)" in str(job.error)
    assert ids(world, "customers") == set(range(1, 61))
    assert place.objects() == {}
