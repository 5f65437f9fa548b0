"""Where jobs stand that go by steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
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


def downgrade() -> None:
    """Every job that goes by steps begins at its start."""
    op.drop_table("bounds")
