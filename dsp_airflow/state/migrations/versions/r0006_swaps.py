"""When a job that replaces its target has done so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; no job so far has replaced anything."""
    op.add_column("jobs", sa.Column("swapped_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """What was replaced stays so; nobody knows when."""
    op.drop_column("jobs", "swapped_at")
