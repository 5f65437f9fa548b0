"""How many rows of a batch somebody else had removed from the source."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; nothing was marked so far."""
    op.add_column("batches", sa.Column("rows_gone", sa.BigInteger()))


def downgrade() -> None:
    """The receipts say it still."""
    op.drop_column("batches", "rows_gone")
