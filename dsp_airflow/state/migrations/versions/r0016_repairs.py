"""Batches that were copied once more, since a check had found them to differ."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds the table; of earlier repairs the audit tells."""
    op.create_table(
        "repairs",
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("job", sa.String(250), nullable=False),
        sa.Column("begun_by", sa.Text(), nullable=False),
        sa.Column("begun_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("batches", sa.Text(), nullable=False),
        sa.Column("rows_found", sa.BigInteger(), nullable=False),
        sa.Column("rows_left", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", "job", name="pk_repairs"),
        sa.ForeignKeyConstraint(
            ["run", "job"], ["jobs.run", "jobs.name"], name="fk_repairs_jobs", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    """The audit still tells of them."""
    op.drop_table("repairs")
