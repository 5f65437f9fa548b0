"""The tables. Structured values are JSON in text columns, so that integers of any size survive.

A job that is planned again gets a new *attempt*: its batches are numbered from 1 again and
what was copied or purged before stays as history under the old attempt.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from dsp_airflow.state.clock import UtcDateTime

RUN_STATES = ("planned", "running", "succeeded", "failed", "terminated")
JOB_STATES = (
    "waiting",
    "planned",
    "copying",
    "copied",
    "checking",
    "checked",
    "purging",
    "succeeded",
    "failed",
    "terminated",
)
MAIL_STATES = ("new", "claimed", "sent", "failed")
DIFFERENCE_PHASES = ("check", "purge")

RunId = String(40)
Name = String(250)
State = String(16)
Count = BigInteger()
Serial = BigInteger().with_variant(Integer(), "sqlite")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


class Base(DeclarativeBase):
    """Names every constraint alike on both systems."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )


class RunRow(Base):
    """One execution of a task file, its definition frozen."""

    __tablename__ = "runs"
    __table_args__ = (
        _one_of("state", RUN_STATES),
        UniqueConstraint("external_key"),
        Index("ix_runs_task_created_at", "task", "created_at"),
    )

    id: Mapped[str] = mapped_column(RunId, primary_key=True)
    task: Mapped[str] = mapped_column(Name)
    file: Mapped[str] = mapped_column(Text)
    external_key: Mapped[str | None] = mapped_column(Text)
    """Airflow's ``dag_id/run_id``."""
    attempt: Mapped[int] = mapped_column(Integer)
    definition: Mapped[str] = mapped_column(Text)
    definition_digest: Mapped[str] = mapped_column(String(128))
    variables: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(State)
    stop_requested: Mapped[bool]
    error: Mapped[str | None] = mapped_column(Text)
    triggered_by: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class JobRow(Base):
    """One job of a run; its plan, once made."""

    __tablename__ = "jobs"
    __table_args__ = (
        _one_of("state", JOB_STATES),
        ForeignKeyConstraint(["run"], ["runs.id"], ondelete="CASCADE"),
    )

    run: Mapped[str] = mapped_column(RunId, primary_key=True)
    name: Mapped[str] = mapped_column(Name, primary_key=True)
    ordinal: Mapped[int] = mapped_column(Integer)
    attempt: Mapped[int] = mapped_column(Integer)
    source_table: Mapped[str] = mapped_column(Text)
    source_connection: Mapped[str] = mapped_column(Text)
    source_identity: Mapped[str] = mapped_column(Text)
    purge_mode: Mapped[str] = mapped_column(State)
    check_percent: Mapped[float | None] = mapped_column(Double)
    """``None``: the job has no consistency check."""
    check_seed: Mapped[int | None] = mapped_column(Count)
    plan: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(State)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    planned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


def _waits(name: str, condition: str) -> Index:
    """Finds the next batch of a phase without walking over those that are through."""
    return Index(
        f"ix_batches_{name}",
        "run",
        "job",
        "attempt",
        "number",
        sqlite_where=text(condition),
        postgresql_where=text(condition),
    )


class BatchRow(Base):
    """One batch: its range, and what copy, check and purge made of it."""

    __tablename__ = "batches"
    __table_args__ = (
        ForeignKeyConstraint(["run", "job"], ["jobs.run", "jobs.name"], ondelete="CASCADE"),
        _waits("uncopied", "copied_at IS NULL"),
        _waits("unchecked", "checked_at IS NULL"),
        _waits("unpurged", "purged_at IS NULL"),
        _waits("leased", "lease_owner IS NOT NULL"),
    )

    run: Mapped[str] = mapped_column(RunId, primary_key=True)
    job: Mapped[str] = mapped_column(Name, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    after: Mapped[str | None] = mapped_column(Text)
    upto: Mapped[str | None] = mapped_column(Text)
    rows: Mapped[int] = mapped_column(Count)
    sampled: Mapped[bool]

    copied: Mapped[str | None] = mapped_column(Text)
    rows_read: Mapped[int | None] = mapped_column(Count)
    rows_written: Mapped[int | None] = mapped_column(Count)
    bytes: Mapped[int | None] = mapped_column(Count)
    seconds: Mapped[float | None] = mapped_column(Double)
    copied_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    rows_checked: Mapped[int | None] = mapped_column(Count)
    rows_different: Mapped[int | None] = mapped_column(Count)
    compared: Mapped[bool | None]
    check_note: Mapped[str | None] = mapped_column(Text)
    checked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    rows_purged: Mapped[int] = mapped_column(Count)
    """All purges of this batch together."""
    rows_kept: Mapped[int | None] = mapped_column(Count)
    """What the last purge left."""
    intent: Mapped[str | None] = mapped_column(Text)
    purged_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    lease_phase: Mapped[str | None] = mapped_column(State)
    lease_owner: Mapped[str | None] = mapped_column(Text)
    lease_token: Mapped[int] = mapped_column(Count)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer)
    """How often it was claimed."""
    error: Mapped[str | None] = mapped_column(Text)


class DifferenceRow(Base):
    """One reported row. A batch's counts are complete; its reported rows may be fewer."""

    __tablename__ = "differences"
    __table_args__ = (
        _one_of("phase", DIFFERENCE_PHASES),
        ForeignKeyConstraint(
            ["run", "job", "attempt", "batch"],
            ["batches.run", "batches.job", "batches.attempt", "batches.number"],
            ondelete="CASCADE",
        ),
        Index("ix_differences_batch", "run", "job", "attempt", "batch", "phase"),
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    run: Mapped[str] = mapped_column(RunId)
    job: Mapped[str] = mapped_column(Name)
    attempt: Mapped[int] = mapped_column(Integer)
    batch: Mapped[int] = mapped_column(Integer)
    phase: Mapped[str] = mapped_column(State)
    kind: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(Text)
    columns: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)


class ReceiptRow(Base):
    """The evidence of one purge of one batch. Only ever added."""

    __tablename__ = "receipts"
    __table_args__ = (Index("ix_receipts_batch", "run", "job", "batch"),)

    seq: Mapped[int] = mapped_column(Count, primary_key=True, autoincrement=False)
    run: Mapped[str] = mapped_column(RunId, ForeignKey("runs.id"))
    job: Mapped[str] = mapped_column(Name)
    batch: Mapped[int] = mapped_column(Integer)
    body: Mapped[str] = mapped_column(Text)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ReceiptHead(Base):
    """The chain's last receipt: one row, locked while the next is added."""

    __tablename__ = "receipt_head"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(Count)
    hash: Mapped[str] = mapped_column(String(64))


class MailRow(Base):
    """One mail that is due, being sent, or done with."""

    __tablename__ = "outbox"
    __table_args__ = (
        _one_of("state", MAIL_STATES),
        UniqueConstraint("run", "attempt", "event"),
        Index("ix_outbox_state", "state", "id"),
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    run: Mapped[str] = mapped_column(Text)
    """A run of this database, or Airflow's key where the run never got that far."""
    attempt: Mapped[int] = mapped_column(Integer)
    event: Mapped[str] = mapped_column(String(64))
    recipients: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(State)
    claimed_by: Mapped[str | None] = mapped_column(Text)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class LeaseRow(Base):
    """Who may work on a resource, such as one source table's purge."""

    __tablename__ = "leases"

    resource: Mapped[str] = mapped_column(Text, primary_key=True)
    owner: Mapped[str] = mapped_column(Text)
    token: Mapped[int] = mapped_column(Count)
    holds: Mapped[int] = mapped_column(Integer)
    """How often the owner has entered."""
    until: Mapped[datetime] = mapped_column(UtcDateTime)
