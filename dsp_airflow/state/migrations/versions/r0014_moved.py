"""What reports are made by: what a job is and where it writes, and what it moved by day."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_PAGE = 500
_COUNTS = ("rows_copied", "rows_purged", "rows_different", "rows_kept", "bytes")


def upgrade() -> None:
    """Adds them, and fills them from what is known of every run and batch."""
    for name, kind in (
        ("type", sa.String(16)),
        ("target_connection", sa.String(250)),
        ("target", sa.Text()),
    ):
        op.add_column("jobs", sa.Column(name, kind, nullable=False, server_default=""))
    op.create_table(
        "moved",
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("job", sa.String(250), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run", "job", "day", name="pk_moved"),
        sa.ForeignKeyConstraint(
            ["run", "job"], ["jobs.run", "jobs.name"], name="fk_moved_jobs", ondelete="CASCADE"
        ),
    )
    connection = op.get_bind()
    _fill_jobs(connection)
    _fill_moved(connection)


def downgrade() -> None:
    """They can be made anew."""
    op.drop_table("moved")
    for name in ("target", "target_connection", "type"):
        op.drop_column("jobs", name)


def _fill_jobs(connection: sa.Connection) -> None:
    runs = sa.table("runs", *(sa.column(name, sa.Text()) for name in ("id", "definition")))
    names = ("run", "name", "type", "target_connection", "target")
    jobs = sa.table("jobs", *(sa.column(name, sa.Text()) for name in names))
    after = ""
    while True:
        rows = connection.execute(
            sa.select(runs.c.id, runs.c.definition)
            .where(runs.c.id > after)
            .order_by(runs.c.id)
            .limit(_PAGE)
        ).all()
        for row in rows:
            for one in json.loads(row.definition).get("jobs", ()):
                connection.execute(
                    sa.update(jobs)
                    .where(jobs.c.run == row.id, jobs.c.name == one.get("name", ""))
                    .values(**_of(one))
                )
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


def _of(job: dict[str, Any]) -> dict[str, str]:
    target = job.get("target") or {}
    names = (target.get(name) for name in ("bucket", "prefix", "table", "collection"))
    parts = [".".join(one) if isinstance(one, list) else str(one) for one in names if one]
    return {
        "type": str(job.get("type", "")),
        "target_connection": str(target.get("connection", "")),
        "target": "/".join(parts),
    }


def _fill_moved(connection: sa.Connection) -> None:
    day = (
        "strftime('%Y-%m-%d', b.copied_at)"
        if connection.dialect.name == "sqlite"
        else "to_char(b.copied_at, 'YYYY-MM-DD')"
    )
    present = "CASE WHEN b.attempt = j.attempt THEN {} END"
    sums = ", ".join(
        f"coalesce(sum({value}), 0)"
        for value in (
            "b.rows_written",
            "b.rows_purged",
            present.format("b.rows_different"),
            present.format("b.rows_kept"),
            "b.bytes",
            "b.seconds",
        )
    )
    connection.execute(
        sa.text(
            f"INSERT INTO moved SELECT b.run, b.job, coalesce({day}, ''), {sums} "  # noqa: S608
            "FROM batches b JOIN jobs j ON j.run = b.run AND j.name = b.job "
            "WHERE j.state = 'succeeded' GROUP BY 1, 2, 3"
        )
    )
