"""The tables. Structured values are JSON in text columns, so that integers of any size survive.

A job that is planned again gets a new *attempt*: its batches are numbered from 1 again and
what was copied or purged before stays as history under the old attempt.

Plain tables, not mapped classes: the first statement over a mapped class configures every mapper
of the process, Airflow's two hundred models included.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from dsp_airflow.state.clock import UtcDateTime

TASK_STATES = ("enabled", "disabled", "offline")
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
REQUEST_STATES = (
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
VERDICTS = ("approved", "rejected", "automatic")

RunId = String(40)
Name = String(250)
State = String(16)
Count = BigInteger()
Serial = BigInteger().with_variant(Integer(), "sqlite")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
"""Names every constraint alike on both systems."""


RUNS = Table(
    "runs",
    METADATA,
    Column("id", RunId, primary_key=True),
    Column("task", Name, nullable=False),
    Column("file", Text, nullable=False),
    # Airflow's dag_id/run_id.
    Column("external_key", Text),
    # Whose readers may see the run: Airflow's DAG, or the one that the task file makes.
    Column("dag", Name, nullable=False, server_default=""),
    # Those of its jobs, such as "s3 warm".
    Column("types", String(64), nullable=False, server_default=""),
    Column("attempt", Integer, nullable=False),
    Column("definition", Text, nullable=False),
    Column("definition_digest", String(128), nullable=False),
    Column("variables", Text, nullable=False),
    Column("state", State, nullable=False),
    Column("stop_requested", Boolean(), nullable=False),
    # None: it was not asked for by name (marked as failed in Airflow, timed out).
    Column("stop_requested_by", Text),
    Column("stop_requested_at", UtcDateTime),
    Column("stop_reason", Text),
    Column("error", Text),
    Column("triggered_by", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    _one_of("state", RUN_STATES),
    UniqueConstraint("external_key"),
    Index("ix_runs_task_created_at", "task", "created_at"),
    Index("ix_runs_dag_created_at", "dag", "created_at"),
    Index("ix_runs_created_at", "created_at", "id"),
)
"""One execution of a task file, its definition frozen."""


JOBS = Table(
    "jobs",
    METADATA,
    Column("run", RunId, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("source_table", Text, nullable=False),
    Column("source_connection", Text, nullable=False),
    Column("source_identity", Text, nullable=False),
    Column("purge_mode", State, nullable=False),
    # None: the job has no consistency check.
    Column("check_percent", Double),
    Column("check_seed", Count),
    Column("plan", Text),
    Column("state", State, nullable=False),
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("planned_at", UtcDateTime),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    # When a process that works on it last said so.
    Column("seen_at", UtcDateTime),
    # Of a job that replaces its target: it has.
    Column("swapped_at", UtcDateTime),
    # As the run's definition says it; the target's table is empty where it is the source's.
    Column("type", State, nullable=False, server_default=""),
    Column("target_connection", Name, nullable=False, server_default=""),
    Column("target", Text, nullable=False, server_default=""),
    # When what it wrote began to be undone: nothing works on it since.
    Column("undone_at", UtcDateTime),
    _one_of("state", JOB_STATES),
    ForeignKeyConstraint(["run"], ["runs.id"], ondelete="CASCADE"),
)
"""One job of a run; its plan, once made."""


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


BATCHES = Table(
    "batches",
    METADATA,
    Column("run", RunId, primary_key=True),
    Column("job", Name, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("after", Text),
    Column("upto", Text),
    Column("rows", Count, nullable=False),
    Column("sampled", Boolean(), nullable=False),
    Column("copied", Text),
    Column("rows_read", Count),
    Column("rows_written", Count),
    Column("bytes", Count),
    Column("seconds", Double),
    Column("copied_at", UtcDateTime),
    Column("rows_checked", Count),
    Column("rows_different", Count),
    Column("compared", Boolean()),
    Column("check_note", Text),
    Column("checked_at", UtcDateTime),
    # All purges of this batch together.
    Column("rows_purged", Count, nullable=False),
    # What the last purge left.
    Column("rows_kept", Count),
    # Found gone: somebody else had removed them.
    Column("rows_gone", Count),
    Column("intent", Text),
    Column("purged_at", UtcDateTime),
    Column("lease_phase", State),
    Column("lease_owner", Text),
    Column("lease_token", Count, nullable=False),
    Column("lease_until", UtcDateTime),
    # How often it was claimed.
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    ForeignKeyConstraint(["run", "job"], ["jobs.run", "jobs.name"], ondelete="CASCADE"),
    _waits("uncopied", "copied_at IS NULL"),
    _waits("unchecked", "checked_at IS NULL"),
    _waits("unpurged", "purged_at IS NULL"),
    _waits("leased", "lease_owner IS NOT NULL"),
    Index(
        "ix_batches_intent",
        "run",
        "number",
        sqlite_where=text("intent IS NOT NULL"),
        postgresql_where=text("intent IS NOT NULL"),
    ),
)
"""One batch: its range, and what copy, check and purge made of it."""


MOVED = Table(
    "moved",
    METADATA,
    Column("run", RunId, primary_key=True),
    Column("job", Name, primary_key=True),
    # On which the batches were copied, in UTC; empty for those that were not.
    Column("day", String(10), primary_key=True),
    Column("rows_copied", Count, nullable=False),
    Column("rows_purged", Count, nullable=False),
    Column("rows_different", Count, nullable=False),
    Column("rows_kept", Count, nullable=False),
    Column("bytes", Count, nullable=False),
    Column("seconds", Double, nullable=False),
    ForeignKeyConstraint(["run", "job"], ["jobs.run", "jobs.name"], ondelete="CASCADE"),
)
"""The sums over the batches of a job as it succeeded; they hold while it stays so."""


DRILLS = Table(
    "drills",
    METADATA,
    Column("run", RunId, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("job", Name, primary_key=True),
    # Whose archives are tried.
    Column("of_task", Name, nullable=False),
    Column("of_job", Name, nullable=False),
    # The archived run and which of its batches; None until one is drawn, or where none is there.
    Column("tried", RunId),
    Column("batches", Text),
    # What they are restored to, and when it was gone again.
    Column("target", Text),
    Column("dropped_at", UtcDateTime),
    Index("ix_drills_tried", "tried", "of_job"),
)
"""A restore that is there to see whether it can be done. How it ended, its job and run say."""


DIFFERENCES = Table(
    "differences",
    METADATA,
    Column("id", Serial, primary_key=True),
    Column("run", RunId, nullable=False),
    Column("job", Name, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("phase", State, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("key", Text, nullable=False),
    Column("columns", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _one_of("phase", DIFFERENCE_PHASES),
    ForeignKeyConstraint(
        ["run", "job", "attempt", "batch"],
        ["batches.run", "batches.job", "batches.attempt", "batches.number"],
        ondelete="CASCADE",
    ),
    Index("ix_differences_batch", "run", "job", "attempt", "batch", "phase"),
)
"""One reported row. A batch's counts are complete; its reported rows may be fewer."""


RECEIPTS = Table(
    "receipts",
    METADATA,
    Column("seq", Count, primary_key=True, autoincrement=False),
    Column("run", RunId, ForeignKey("runs.id"), nullable=False),
    Column("job", Name, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("body", Text, nullable=False),
    # Found by: the digest of the target's name, and the rows that stand nowhere else by now.
    Column("target", String(64)),
    Column("relied", Count),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_receipts_batch", "run", "job", "batch"),
    Index("ix_receipts_target", "target", "relied", "seq"),
)
"""The evidence of one purge of one batch. Only ever added."""


RECEIPT_HEAD = Table(
    "receipt_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Count, nullable=False),
    Column("hash", String(64), nullable=False),
    CheckConstraint("id = 1", name="one"),
)
"""The chain's last receipt: one row, locked while the next is added."""


OUTBOX = Table(
    "outbox",
    METADATA,
    Column("id", Serial, primary_key=True),
    # A run of this database, or Airflow's key where the run never got that far.
    Column("run", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("event", String(64), nullable=False),
    Column("recipients", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", State, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_until", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime),
    _one_of("state", MAIL_STATES),
    UniqueConstraint("run", "attempt", "event"),
    Index("ix_outbox_state", "state", "id"),
)
"""One mail that is due, being sent, or done with."""


LEASES = Table(
    "leases",
    METADATA,
    Column("resource", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("token", Count, nullable=False),
    # How often the owner has entered.
    Column("holds", Integer, nullable=False),
    Column("until", UtcDateTime, nullable=False),
)
"""Who may work on a resource, such as one source table's purge."""


CURSORS = Table(
    "cursors",
    METADATA,
    Column("task", Name, primary_key=True),
    Column("job", Name, primary_key=True),
    # Database and table: where a connection leads elsewhere, a cursor begins anew.
    Column("source", String(500), primary_key=True),
    Column("column", Name, primary_key=True),
    # At native precision, as the database prints it.
    Column("value", Text, nullable=False),
    Column("run", RunId),
    Column("updated_at", UtcDateTime, nullable=False),
)
"""How far an incremental job has come: moved when all of a run is copied and checked."""


BOUNDS = Table(
    "bounds",
    METADATA,
    Column("task", Name, primary_key=True),
    Column("job", Name, primary_key=True),
    # As of a cursor.
    Column("source", String(500), primary_key=True),
    Column("column", Name, primary_key=True),
    # As the engine's steps write it.
    Column("value", Text, nullable=False),
    # What step.start was.
    Column("start", Text, nullable=False),
    Column("run", RunId),
    Column("updated_at", UtcDateTime, nullable=False),
)
"""Where the next step of a job begins: moved when all of a step is through."""


SHAPES = Table(
    "shapes",
    METADATA,
    Column("task", Name, primary_key=True),
    Column("job", Name, primary_key=True),
    # Database and table: where a connection leads elsewhere, nothing is known.
    Column("source", String(500), primary_key=True),
    Column("shape", Text, nullable=False),
    Column("run", RunId),
    Column("updated_at", UtcDateTime, nullable=False),
)
"""What the table of a job looked like when a run last planned to read it."""


DELETIONS = Table(
    "deletions",
    METADATA,
    Column("run", RunId, primary_key=True),
    Column("job", Name, primary_key=True),
    # The job's, when the last one ended.
    Column("attempt", Integer),
    Column("missing", Count, nullable=False),
    Column("deleted", Count, nullable=False),
    Column("intent", Text),
    Column("done_at", UtcDateTime),
    ForeignKeyConstraint(["run", "job"], ["jobs.run", "jobs.name"], ondelete="CASCADE"),
)
"""Rows of a target that the source does not have, and those that were deleted."""


ROLLBACKS = Table(
    "rollbacks",
    METADATA,
    Column("run", RunId, primary_key=True),
    Column("job", Name, primary_key=True),
    # Where the target is, and its name.
    Column("target", Text, nullable=False),
    Column("begun_by", Text, nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    # None: it was killed, or goes on.
    Column("ended_at", UtcDateTime),
    Column("removed", Count, nullable=False),
    Column("restored", Count, nullable=False),
    Column("kept", Count, nullable=False),
    # Of those that were kept, the youngest.
    Column("report", Text, nullable=False),
    # The run that did the work again.
    Column("again", RunId),
    ForeignKeyConstraint(["run", "job"], ["jobs.run", "jobs.name"], ondelete="CASCADE"),
)
"""What of a run was undone."""


REPAIRS = Table(
    "repairs",
    METADATA,
    Column("run", RunId, primary_key=True),
    Column("job", Name, primary_key=True),
    Column("begun_by", Text, nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    # None: it was killed, or goes on.
    Column("ended_at", UtcDateTime),
    # Their numbers: what a check had found to differ.
    Column("batches", Text, nullable=False),
    # Rows that differed before, and that did so still when it had ended.
    Column("rows_found", Count, nullable=False),
    Column("rows_left", Count, nullable=False),
    ForeignKeyConstraint(["run", "job"], ["jobs.run", "jobs.name"], ondelete="CASCADE"),
)
"""What of a run was copied once more, the last time that anything was."""


BUCKETS = Table(
    "buckets",
    METADATA,
    Column("run", RunId, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("job", Name, primary_key=True),
    # What may be moved yet; below zero: what was moved in advance.
    Column("rows", Double, nullable=False),
    Column("bytes", Double, nullable=False),
    Column("filled_at", UtcDateTime, nullable=False),
)
"""The token buckets of a job with limits on its rate: one for all workers and shards."""


LIMIT_CHANGES = Table(
    "limit_changes",
    METADATA,
    Column("run", RunId, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    # Empty: every job of the run.
    Column("job", Name, primary_key=True),
    Column("changes", Text, nullable=False),
    Column("changed_by", Text),
    Column("changed_at", UtcDateTime, nullable=False),
)
"""Limits of a run that somebody set by hand, in place of the file's."""


TASKS = Table(
    "tasks",
    METADATA,
    Column("name", Name, primary_key=True),
    Column("state", State, nullable=False),
    Column("reason", Text),
    Column("changed_by", Text),
    Column("changed_at", UtcDateTime, nullable=False),
    _one_of("state", TASK_STATES),
)
"""Whether a task may run, as somebody set it; one that is not here may."""


PROCESSES = Table(
    "processes",
    METADATA,
    Column("name", String(110), primary_key=True),
    Column("task_type", String(32), nullable=False),
    # As a process file would say it, but for what stands in columns of its own.
    Column("body", Text, nullable=False),
    Column("enabled", Boolean(), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)
"""Approval processes that were made by hand; the others are files."""


ESTIMATES = Table(
    "estimates",
    METADATA,
    # Whose look it was: Airflow's dag_id/run_id, or the command's own.
    Column("key", Text, primary_key=True),
    Column("job", Name, primary_key=True),
    Column("body", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
"""What a look at a job found, before anybody is asked."""


REQUESTS = Table(
    "requests",
    METADATA,
    Column("id", RunId, primary_key=True),
    # What asks, and how often it has asked.
    Column("key", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("task", Name, nullable=False),
    Column("title", Text, nullable=False),
    Column("task_type", String(32), nullable=False),
    Column("process", String(110), nullable=False),
    Column("level", Integer, nullable=False),
    # The process as it was when the request was made.
    Column("snapshot", Text, nullable=False),
    # What the approvers are shown; ``digest`` is of what their decision is bound to.
    Column("evidence", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("requester", Text, nullable=False),
    Column("state", String(32), nullable=False),
    # The node that decides next, from 0.
    Column("node", Integer, nullable=False),
    Column("until", UtcDateTime),
    # One more with each change.
    Column("version", Integer, nullable=False),
    Column("reason", Text),
    # An earlier request whose decision covers this one.
    Column("covered_by", RunId),
    # Whether its decision covers later requests of the same digest.
    Column("standing", Boolean(), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    _one_of("state", REQUEST_STATES),
    UniqueConstraint("key", "number"),
    Index("ix_requests_task", "task_type", "task", "created_at"),
    Index("ix_requests_state", "state", "until"),
)
"""One request for approval. Kept for good."""


DECISIONS = Table(
    "decisions",
    METADATA,
    Column("request", RunId, ForeignKey("requests.id"), primary_key=True),
    Column("node", Integer, primary_key=True),
    Column("actor", Text, nullable=False),
    Column("verdict", State, nullable=False),
    Column("comment", Text, nullable=False),
    # What the actor had before the eyes.
    Column("digest", String(64), nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    _one_of("verdict", VERDICTS),
)
"""What was decided at a node of a request: once, by one person."""


REQUEST_CHANGES = Table(
    "request_changes",
    METADATA,
    Column("request", RunId, ForeignKey("requests.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("before", String(32)),
    Column("after", String(32), nullable=False),
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)
"""Every transition of every request. Only ever added."""


ROLE_MEMBERS = Table(
    "role_members",
    METADATA,
    Column("role", String(110), primary_key=True),
    Column("user", Name, primary_key=True),
)
"""Who has a role."""


GRANTS = Table(
    "grants",
    METADATA,
    Column("id", RunId, primary_key=True),
    Column("holder", Name, nullable=False),
    Column("is_role", Boolean(), nullable=False),
    Column("connection", Name, nullable=False),
    # None: all there are. A schema, database or bucket; in it a table, collection or prefix.
    Column("container", Text),
    Column("item", Text),
    # Whether the item is a prefix.
    Column("is_path", Boolean(), nullable=False),
    # Their names, sorted, with a blank between.
    Column("privileges", String(64), nullable=False),
    Column("granted_by", Text, nullable=False),
    Column("granted_at", UtcDateTime, nullable=False),
    Column("until", UtcDateTime),
    # The request that it was made for.
    Column("request", RunId),
    Index("ix_grants_holder", "holder"),
    Index("ix_grants_connection", "connection"),
)
"""Who may do what to which connection, or to a part of it."""


KNOWN_USERS = Table(
    "known_users",
    METADATA,
    Column("name", Name, primary_key=True),
    # By Airflow's auth manager, when the API server saw the user last.
    Column("administrator", Boolean(), nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)
"""What the API server knows of users, for those who cannot ask the auth manager."""


AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", Count, primary_key=True, autoincrement=False),
    Column("actor", Text, nullable=False),
    Column("action", String(64), nullable=False),
    Column("object", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
)
"""Who did what to what. Only ever added."""


AUDIT_HEAD = Table(
    "audit_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Count, nullable=False),
    Column("hash", String(64), nullable=False),
    CheckConstraint("id = 1", name="one"),
)
"""The chain's last record: one row, locked while the next is added."""
