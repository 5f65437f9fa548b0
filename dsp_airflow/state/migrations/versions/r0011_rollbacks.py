"""Runs whose writes were undone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds both; nothing was undone so far."""
    op.add_column("jobs", sa.Column("undone_at", TIME))
    op.create_table(
        "rollbacks",
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("job", sa.String(250), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("begun_by", sa.Text(), nullable=False),
        sa.Column("begun_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("removed", sa.BigInteger(), nullable=False),
        sa.Column("restored", sa.BigInteger(), nullable=False),
        sa.Column("kept", sa.BigInteger(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("again", sa.String(40)),
        sa.PrimaryKeyConstraint("run", "job", name="pk_rollbacks"),
        sa.ForeignKeyConstraint(
            ["run", "job"], ["jobs.run", "jobs.name"], name="fk_rollbacks_jobs", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    """What was undone stays so."""
    op.drop_table("rollbacks")
    op.drop_column("jobs", "undone_at")
