"""What tables looked like when a run last planned to read them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "shapes",
        sa.Column("task", sa.String(250), nullable=False),
        sa.Column("job", sa.String(250), nullable=False),
        sa.Column("source", sa.String(500), nullable=False),
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column("run", sa.String(40)),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("task", "job", "source", name="pk_shapes"),
    )


def downgrade() -> None:
    """The next run takes every table as it is."""
    op.drop_table("shapes")
