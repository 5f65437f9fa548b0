"""Who asked a run to stop, when a job was last worked on, and tasks that are switched off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds the columns and the table."""
    op.add_column("runs", sa.Column("stop_requested_by", sa.Text()))
    op.add_column("runs", sa.Column("stop_requested_at", TIME))
    op.add_column("runs", sa.Column("stop_reason", sa.Text()))
    op.add_column("jobs", sa.Column("seen_at", TIME))
    op.create_table(
        "tasks",
        sa.Column("name", sa.String(250), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("changed_by", sa.Text()),
        sa.Column("changed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tasks"),
        sa.CheckConstraint(
            "state IN ('enabled', 'disabled', 'offline')", name=op.f("ck_tasks_state")
        ),
    )


def downgrade() -> None:
    """Every task may run again, and nobody knows who stopped what."""
    op.drop_table("tasks")
    op.drop_column("jobs", "seen_at")
    for column in ("stop_reason", "stop_requested_at", "stop_requested_by"):
        op.drop_column("runs", column)
