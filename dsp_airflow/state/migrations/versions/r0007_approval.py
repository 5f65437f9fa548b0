"""Approval processes, requests and decisions; members of roles; the audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

RUN = sa.String(40)
NAME = sa.String(250)
LONG_NAME = sa.String(110)
TYPE = sa.String(32)
SHA256 = sa.String(64)
TIME = sa.DateTime(timezone=True)
STATES = (
    "CREATED",
    "APPROVING",
    "REJECTED",
    "APPROVAL_EXPIRED",
    "WAIT_FOR_EXECUTION",
    "WAIT_FOR_EXECUTION_EXPIRED",
    "EXECUTING",
    "EXECUTION_SUCCEEDED",
    "EXECUTION_FAILED",
    "EXECUTION_EXPIRED",
    "CANCELLED",
)


def upgrade() -> None:
    """Creates the tables."""
    _processes()
    _requests()
    _decisions()
    op.create_table(
        "role_members",
        sa.Column("role", LONG_NAME, nullable=False),
        sa.Column("user", NAME, nullable=False),
        sa.PrimaryKeyConstraint("role", "user", name="pk_role_members"),
    )
    _audit()


def downgrade() -> None:
    """Drops the tables and all decisions with them."""
    for table in (
        "audit_head",
        "audit",
        "role_members",
        "request_changes",
        "decisions",
        "requests",
        "estimates",
        "processes",
    ):
        op.drop_table(table)


def _processes() -> None:
    op.create_table(
        "processes",
        sa.Column("name", LONG_NAME, nullable=False),
        sa.Column("task_type", TYPE, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_processes"),
    )
    op.create_table(
        "estimates",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("job", NAME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", "job", name="pk_estimates"),
    )


def _requests() -> None:
    listed = ", ".join(f"'{state}'" for state in STATES)
    op.create_table(
        "requests",
        sa.Column("id", RUN, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("task", NAME, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("task_type", TYPE, nullable=False),
        sa.Column("process", LONG_NAME, nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("digest", SHA256, nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("state", TYPE, nullable=False),
        sa.Column("node", sa.Integer(), nullable=False),
        sa.Column("until", TIME),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("covered_by", RUN),
        sa.Column("standing", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sa.UniqueConstraint("key", "number", name="uq_requests_key_number"),
        sa.CheckConstraint(f"state IN ({listed})", name=op.f("ck_requests_state")),
    )
    op.create_index("ix_requests_task", "requests", ["task_type", "task", "created_at"])
    op.create_index("ix_requests_state", "requests", ["state", "until"])


def _decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("request", RUN, nullable=False),
        sa.Column("node", sa.Integer(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("digest", SHA256, nullable=False),
        sa.Column("decided_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("request", "node", name="pk_decisions"),
        sa.ForeignKeyConstraint(["request"], ["requests.id"], name="fk_decisions_requests"),
        sa.CheckConstraint(
            "verdict IN ('approved', 'rejected', 'automatic')", name=op.f("ck_decisions_verdict")
        ),
    )
    op.create_table(
        "request_changes",
        sa.Column("request", RUN, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("before", TYPE),
        sa.Column("after", TYPE, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("request", "version", name="pk_request_changes"),
        sa.ForeignKeyConstraint(["request"], ["requests.id"], name="fk_request_changes_requests"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("previous_hash", SHA256, nullable=False),
        sa.Column("hash", SHA256, nullable=False),
        sa.Column("recorded_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", SHA256, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_head"),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_one")),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "hash": "0" * 64}])
