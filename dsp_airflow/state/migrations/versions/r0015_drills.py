"""Drills: what each of them tries, and what it restored to until that is dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from dsp_airflow.state.clock import UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_PAGE = 500


def upgrade() -> None:
    """Adds the table, and fills it from the definitions and variables of runs."""
    op.create_table(
        "drills",
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("job", sa.String(250), nullable=False),
        sa.Column("of_task", sa.String(250), nullable=False),
        sa.Column("of_job", sa.String(250), nullable=False),
        sa.Column("tried", sa.String(40)),
        sa.Column("batches", sa.Text()),
        sa.Column("target", sa.Text()),
        sa.Column("dropped_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("run", "job", name="pk_drills"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_drills_runs", ondelete="CASCADE"),
    )
    op.create_index("ix_drills_tried", "drills", ["tried", "of_job"])
    _fill(op.get_bind())


def downgrade() -> None:
    """They can be made anew."""
    op.drop_table("drills")


def _fill(connection: sa.Connection) -> None:
    texts = ("id", "types", "state", "definition", "variables")
    runs = sa.table(
        "runs",
        *(sa.column(name, sa.Text()) for name in texts),
        sa.column("ended_at", UtcDateTime()),
    )
    names = ("run", "job", "of_task", "of_job", "tried", "batches", "target")
    drills = sa.table(
        "drills",
        *(sa.column(name, sa.Text()) for name in names),
        sa.column("dropped_at", UtcDateTime()),
    )
    after = ""
    while True:
        rows = connection.execute(
            sa.select(*runs.c)
            .where(runs.c.id > after, runs.c.types.contains("restore"))
            .order_by(runs.c.id)
            .limit(_PAGE)
        ).all()
        found = [drill for row in rows for drill in _of(row)]
        if found:
            connection.execute(sa.insert(drills), found)
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


def _of(run: sa.Row[Any]) -> Iterator[dict[str, Any]]:
    variables = json.loads(run.variables)
    for job in json.loads(run.definition).get("jobs", ()):
        drill = job.get("drill")
        if drill is None:
            continue
        its = variables.get(job["name"], {})
        yield {
            "run": run.id,
            "job": job["name"],
            "of_task": drill["task"],
            "of_job": drill["job"],
            "tried": its.get("{run}"),
            "batches": its.get("{batches}"),
            "target": its.get("{table}"),
            # One that succeeded has dropped it.
            "dropped_at": run.ended_at if run.state == "succeeded" else None,
        }
