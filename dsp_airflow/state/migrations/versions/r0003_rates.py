"""What jobs may move yet, and limits that were changed while they ran."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "buckets",
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("job", sa.String(250), nullable=False),
        sa.Column("rows", sa.Double(), nullable=False),
        sa.Column("bytes", sa.Double(), nullable=False),
        sa.Column("filled_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "job", name="pk_buckets"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_buckets_runs", ondelete="CASCADE"),
    )
    op.create_table(
        "limit_changes",
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("job", sa.String(250), nullable=False),
        sa.Column("changes", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.Text()),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "job", name="pk_limit_changes"),
        sa.ForeignKeyConstraint(
            ["run"], ["runs.id"], name="fk_limit_changes_runs", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    """Jobs go by the limits of their files alone."""
    op.drop_table("limit_changes")
    op.drop_table("buckets")
