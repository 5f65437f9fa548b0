"""What lists of runs are made by: the DAG whose readers may see a run, and its jobs' types."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_PAGE = 500


def upgrade() -> None:
    """Adds the columns, fills them from what each run was begun with, and indexes them."""
    op.add_column("runs", sa.Column("dag", sa.String(250), nullable=False, server_default=""))
    op.add_column("runs", sa.Column("types", sa.String(64), nullable=False, server_default=""))
    _fill(op.get_bind())
    op.create_index("ix_runs_dag_created_at", "runs", ["dag", "created_at"])
    op.create_index("ix_runs_created_at", "runs", ["created_at", "id"])


def downgrade() -> None:
    """They can be made anew."""
    op.drop_index("ix_runs_created_at", "runs")
    op.drop_index("ix_runs_dag_created_at", "runs")
    op.drop_column("runs", "types")
    op.drop_column("runs", "dag")


def _fill(connection: sa.Connection) -> None:
    names = ("id", "task", "external_key", "definition", "dag", "types")
    runs = sa.table("runs", *(sa.column(name, sa.Text()) for name in names))
    after = ""
    while True:
        rows = connection.execute(
            sa.select(runs.c.id, runs.c.task, runs.c.external_key, runs.c.definition)
            .where(runs.c.id > after)
            .order_by(runs.c.id)
            .limit(_PAGE)
        ).all()
        for row in rows:
            dag = row.external_key.partition("/")[0] if row.external_key else row.task
            kinds = {
                one["type"] for one in json.loads(row.definition).get("jobs", ()) if "type" in one
            }
            connection.execute(
                sa.update(runs)
                .where(runs.c.id == row.id)
                .values(dag=dag, types=" ".join(sorted(kinds)))
            )
        if len(rows) < _PAGE:
            return
        after = rows[-1].id
