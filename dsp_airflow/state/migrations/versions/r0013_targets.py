"""Receipts are found by the target that they rely on, and purges that were about to commit."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_PAGE = 1000
_OPEN = sa.text("intent IS NOT NULL")


def upgrade() -> None:
    """Adds the columns, fills them from the bodies, which stay as they are, and indexes them."""
    op.add_column("receipts", sa.Column("target", sa.String(64)))
    op.add_column("receipts", sa.Column("relied", sa.BigInteger()))
    _fill(op.get_bind())
    op.create_index("ix_receipts_target", "receipts", ["target", "relied", "seq"])
    op.create_index(
        "ix_batches_intent",
        "batches",
        ["run", "number"],
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )


def downgrade() -> None:
    """They can be made anew."""
    op.drop_index("ix_batches_intent", "batches")
    op.drop_index("ix_receipts_target", "receipts")
    op.drop_column("receipts", "relied")
    op.drop_column("receipts", "target")


def _fill(connection: sa.Connection) -> None:
    receipts = sa.table(
        "receipts",
        sa.column("seq", sa.BigInteger()),
        sa.column("body", sa.Text()),
        sa.column("target", sa.String()),
        sa.column("relied", sa.BigInteger()),
    )
    change = (
        sa.update(receipts)
        .where(receipts.c.seq == sa.bindparam("number"))
        .values(target=sa.bindparam("its_target"), relied=sa.bindparam("its_rows"))
    )
    after = -(2**62)
    while True:
        rows = connection.execute(
            sa.select(receipts.c.seq, receipts.c.body)
            .where(receipts.c.seq > after)
            .order_by(receipts.c.seq)
            .limit(_PAGE)
        ).all()
        found = [{"number": row.seq, **told} for row in rows if (told := _told(row.body))]
        if found:
            connection.execute(change, found)
        if len(rows) < _PAGE:
            return
        after = rows[-1].seq


def _told(text: str) -> dict[str, Any] | None:
    """By a body as it was written; of one that was edited since, `dsp status --verify` tells."""
    try:
        body = json.loads(text)
        gone = (body.get("gone") or {}).get("rows", 0)
        digest = hashlib.sha256(body["target"].encode()).hexdigest()
        return {"its_target": digest, "its_rows": body["rows"] + gone}
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
