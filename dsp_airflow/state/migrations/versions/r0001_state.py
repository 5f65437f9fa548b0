"""Runs, jobs, batches, differences, receipts, outbox, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RUN = sa.String(40)
NAME = sa.String(250)
STATE = sa.String(16)
TIME = sa.DateTime(timezone=True)
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Creates the tables."""
    _runs()
    _jobs()
    _batches()
    _differences()
    _receipts()
    _outbox()
    _leases()


def downgrade() -> None:
    """Drops the tables and all history with them."""
    for table in (
        "leases",
        "outbox",
        "receipt_head",
        "receipts",
        "differences",
        "batches",
        "jobs",
        "runs",
    ):
        op.drop_table(table)


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", RUN, nullable=False),
        sa.Column("task", NAME, nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("external_key", sa.Text()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("definition_digest", sa.String(128), nullable=False),
        sa.Column("variables", sa.Text(), nullable=False),
        sa.Column("state", STATE, nullable=False),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("triggered_by", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("external_key", name="uq_runs_external_key"),
        sa.CheckConstraint(
            "state IN ('planned', 'running', 'succeeded', 'failed', 'terminated')",
            name=op.f("ck_runs_state"),
        ),
    )
    op.create_index("ix_runs_task_created_at", "runs", ["task", "created_at"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("run", RUN, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("source_table", sa.Text(), nullable=False),
        sa.Column("source_connection", sa.Text(), nullable=False),
        sa.Column("source_identity", sa.Text(), nullable=False),
        sa.Column("purge_mode", STATE, nullable=False),
        sa.Column("check_percent", sa.Double()),
        sa.Column("check_seed", sa.BigInteger()),
        sa.Column("plan", sa.Text()),
        sa.Column("state", STATE, nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("planned_at", TIME),
        sa.Column("started_at", TIME),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("run", "name", name="pk_jobs"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_jobs_runs", ondelete="CASCADE"),
        sa.CheckConstraint(
            "state IN ('waiting', 'planned', 'copying', 'copied', 'checking', 'checked',"
            " 'purging', 'succeeded', 'failed', 'terminated')",
            name=op.f("ck_jobs_state"),
        ),
    )


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("run", RUN, nullable=False),
        sa.Column("job", NAME, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("after", sa.Text()),
        sa.Column("upto", sa.Text()),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("sampled", sa.Boolean(), nullable=False),
        sa.Column("copied", sa.Text()),
        sa.Column("rows_read", sa.BigInteger()),
        sa.Column("rows_written", sa.BigInteger()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("seconds", sa.Double()),
        sa.Column("copied_at", TIME),
        sa.Column("rows_checked", sa.BigInteger()),
        sa.Column("rows_different", sa.BigInteger()),
        sa.Column("compared", sa.Boolean()),
        sa.Column("check_note", sa.Text()),
        sa.Column("checked_at", TIME),
        sa.Column("rows_purged", sa.BigInteger(), nullable=False),
        sa.Column("rows_kept", sa.BigInteger()),
        sa.Column("intent", sa.Text()),
        sa.Column("purged_at", TIME),
        sa.Column("lease_phase", STATE),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", TIME),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("run", "job", "attempt", "number", name="pk_batches"),
        sa.ForeignKeyConstraint(
            ["run", "job"],
            ["jobs.run", "jobs.name"],
            name="fk_batches_jobs",
            ondelete="CASCADE",
        ),
    )
    for name, condition in (
        ("uncopied", "copied_at IS NULL"),
        ("unchecked", "checked_at IS NULL"),
        ("unpurged", "purged_at IS NULL"),
        ("leased", "lease_owner IS NOT NULL"),
    ):
        op.create_index(
            f"ix_batches_{name}",
            "batches",
            ["run", "job", "attempt", "number"],
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )


def _differences() -> None:
    op.create_table(
        "differences",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("run", RUN, nullable=False),
        sa.Column("job", NAME, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("phase", STATE, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_differences"),
        sa.ForeignKeyConstraint(
            ["run", "job", "attempt", "batch"],
            ["batches.run", "batches.job", "batches.attempt", "batches.number"],
            name="fk_differences_batches",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("phase IN ('check', 'purge')", name=op.f("ck_differences_phase")),
    )
    op.create_index(
        "ix_differences_batch", "differences", ["run", "job", "attempt", "batch", "phase"]
    )


def _receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("run", RUN, nullable=False),
        sa.Column("job", NAME, nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_receipts"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_receipts_runs"),
    )
    op.create_index("ix_receipts_batch", "receipts", ["run", "job", "batch"])
    head = op.create_table(
        "receipt_head",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_receipt_head"),
        sa.CheckConstraint("id = 1", name=op.f("ck_receipt_head_one")),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "hash": "0" * 64}])


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", STATE, nullable=False),
        sa.Column("claimed_by", sa.Text()),
        sa.Column("claimed_until", TIME),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("sent_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("run", "attempt", "event", name="uq_outbox_run_attempt_event"),
        sa.CheckConstraint(
            "state IN ('new', 'claimed', 'sent', 'failed')", name=op.f("ck_outbox_state")
        ),
    )
    op.create_index("ix_outbox_state", "outbox", ["state", "id"])


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("holds", sa.Integer(), nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.PrimaryKeyConstraint("resource", name="pk_leases"),
    )
