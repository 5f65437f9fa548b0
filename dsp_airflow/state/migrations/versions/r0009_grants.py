"""Grants, and what the API server knows of users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the tables; nobody has a grant yet."""
    op.create_table(
        "grants",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("holder", sa.String(250), nullable=False),
        sa.Column("is_role", sa.Boolean(), nullable=False),
        sa.Column("connection", sa.String(250), nullable=False),
        sa.Column("container", sa.Text()),
        sa.Column("item", sa.Text()),
        sa.Column("is_path", sa.Boolean(), nullable=False),
        sa.Column("privileges", sa.String(64), nullable=False),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True)),
        sa.Column("request", sa.String(40)),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
    )
    op.create_index("ix_grants_holder", "grants", ["holder"])
    op.create_index("ix_grants_connection", "grants", ["connection"])
    op.create_table(
        "known_users",
        sa.Column("name", sa.String(250), nullable=False),
        sa.Column("administrator", sa.Boolean(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_known_users"),
    )


def downgrade() -> None:
    """The audit says what was granted."""
    op.drop_table("known_users")
    op.drop_table("grants")
