"""Where jobs stand that go by steps, and what they deleted from targets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "bounds",
        sa.Column("task", sa.String(250), nullable=False),
        sa.Column("job", sa.String(250), nullable=False),
        sa.Column("source", sa.String(500), nullable=False),
        sa.Column("column", sa.String(250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("start", sa.Text(), nullable=False),
        sa.Column("run", sa.String(40)),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("task", "job", "source", "column", name="pk_bounds"),
    )
    op.create_table(
        "deletions",
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("job", sa.String(250), nullable=False),
        sa.Column("attempt", sa.Integer()),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("intent", sa.Text()),
        sa.Column("done_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("run", "job", name="pk_deletions"),
        sa.ForeignKeyConstraint(
            ["run", "job"],
            ["jobs.run", "jobs.name"],
            name="fk_deletions_jobs",
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    """Every job that goes by steps begins at its start."""
    op.drop_table("deletions")
    op.drop_table("bounds")
