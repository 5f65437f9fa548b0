"""One batch into a target table: direct load or staging and merge, with a commit marker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from psycopg import errors as pg
from pydantic import TypeAdapter

from dsp_airflow.engine import canon
from dsp_airflow.engine.errors import BadValue, Collision, Mismatch, Refused
from dsp_airflow.engine.model import (
    Digest,
    Field,
    Key,
    KeyRange,
    OnConflict,
    Origin,
    Projection,
    Written,
)
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.postgres import dialect, notes, proof, relay, stage
from dsp_airflow.engine.stores.postgres.keys import refuse_twins
from dsp_airflow.engine.stores.postgres.query import Connection, one
from dsp_airflow.engine.stores.postgres.stage import STAGE

WRITTEN = TypeAdapter(Written)
CREATING = "dsp_airflow creates"
"""Names the lock under which anything is created."""


def prepare_markers(connection: Connection, what: Projection) -> bool:
    """Creates the markers' table beside the target unless it is there; False when not allowed."""
    try:
        with connection.transaction():
            # Two workers creating at once would collide in the catalog.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (CREATING,))
            if one(connection, "SELECT to_regclass(%s) IS NULL", (what.markers,))[0]:
                connection.execute(
                    f"CREATE TABLE {what.markers} (run text, job text, batch integer, "
                    "outcome text NOT NULL, committed_at timestamptz NOT NULL DEFAULT now(), "
                    "PRIMARY KEY (run, job, batch))"
                )
            usable: bool = one(
                connection,
                "SELECT has_table_privilege(to_regclass(%s)::oid, 'SELECT') "
                "AND has_table_privilege(to_regclass(%s)::oid, 'INSERT') "
                "AND has_table_privilege(to_regclass(%s)::oid, 'DELETE')",
                (what.markers,) * 3,
            )[0]
            return usable
    except pg.InsufficientPrivilege:
        return False


def forget_markers(connection: Connection, what: Projection, run: str, job: str) -> None:
    """Drops the markers of one job."""
    connection.execute(
        f"DELETE FROM {proof.verbatim(what.markers)} WHERE run = %s AND job = %s", (run, job)
    )


def write(
    connection: Connection,
    what: Projection,
    within: KeyRange,
    stream: Stream,
    *,
    wire: str,
    on_conflict: OnConflict,
    ordered_alike: bool,
    origin: Origin,
    marker: tuple[str, str, int] | None,
    fence: Callable[[], None],
    direct: bool = True,
) -> Written:
    """See ``ports.Writes``. The caller has translated nothing yet."""
    with connection.transaction():
        if marker is not None:
            # Holders of the same batch queue here; who comes second sees the marker.
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (repr(marker),)
            )
            row = connection.execute(
                f"SELECT outcome FROM {proof.verbatim(what.markers)} "
                "WHERE run = %s AND job = %s AND batch = %s",
                marker,
            ).fetchone()
            if row is not None:
                return _recovered(row[0])
        if not what.key:
            _refuse_filled(connection, what)
        # A load straight into the table does not tell its rows from those of others.
        direct = direct and ordered_alike and not what.notes
        alone = not what.key or (direct and _empty(connection, what, within))
        if alone:
            done = _direct(connection, what, stream, wire)
        else:
            _stage(connection, what, stream, wire)
            if what.loose or on_conflict == "ignore" or what.notes:
                # Of two rows of one key the second would be taken for one that was there.
                refuse_twins(connection, what, STAGE, len(what.key))
            done = _merge(
                connection,
                what,
                within if ordered_alike else None,
                on_conflict,
                origin.digest is not None,
            )
        done = replace(done, origin=origin, bytes=stream.size)
        if done.rows != stream.rows:
            raise Mismatch(
                f"{what.label}: the source sent {stream.rows:,} rows and the target took "
                f"{done.rows:,}; a trigger or rule swallows rows there. Nothing was written"
            )
        if marker is not None:
            connection.execute(
                f"INSERT INTO {proof.verbatim(what.markers)} (run, job, batch, outcome) "
                "VALUES (%s, %s, %s, %s)",
                (*marker, WRITTEN.dump_json(done).decode()),
            )
        fence()
    return done


def matching(connection: Connection, what: Projection, stream: Stream, *, wire: str) -> list[Key]:
    """See ``ports.Sifts``."""
    key = ", ".join(
        canon.postgres_text(dialect.quote(f.column), f.type, f.native)
        for f in proof.key_fields(what)
    )
    with connection.transaction():
        _stage(connection, what, stream, wire)
        rows = connection.execute(
            f"SELECT {key} FROM {STAGE} WHERE {proof.condition(what, None)}".encode()
        ).fetchall()
    return [tuple(row) for row in rows]


def _recovered(outcome: str) -> Written:
    return replace(WRITTEN.validate_json(outcome), recovered=True)


def _empty(connection: Connection, what: Projection, within: KeyRange) -> bool:
    row = connection.execute(
        f"SELECT 1 FROM {what.table} WHERE {dialect.range_condition(what.key, within)} LIMIT 1"
    ).fetchone()
    return row is None


def _refuse_filled(connection: Connection, what: Projection) -> None:
    """Without a key nobody could tell rows that stand there from those that come."""
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"dsp_airflow fills {what.table}",),
    )
    if not _empty(connection, what, KeyRange()):
        raise Refused(
            f"{what.label} holds rows, and without a key nobody can tell which of them are copies; "
            f"empty it first, or name unique columns under key. Nothing was written"
        )


def _columns(fields: tuple[Field, ...]) -> str:
    return ", ".join(dialect.quote(f.column) for f in fields)


def _copy(connection: Connection, table: str, what: Projection, stream: Stream, wire: str) -> int:
    return relay.copy_in(
        connection,
        f"COPY {table} ({_columns(what.fields)}) FROM STDIN (FORMAT {wire})",
        stream,
    )


def _direct(connection: Connection, what: Projection, stream: Stream, wire: str) -> Written:
    try:
        rows = _copy(connection, what.table, what, stream, wire)
    except pg.UniqueViolation as error:
        if not what.key:
            raise
        raise Collision(f"{what.label}: rows appeared in the range") from error
    return Written(rows, rows, others=Digest(0, 0, what.method))


def _stage(connection: Connection, what: Projection, stream: Stream, wire: str) -> None:
    columns = ", ".join(f"{dialect.quote(f.column)} {f.native}" for f in what.fields)
    connection.execute(f"DROP TABLE IF EXISTS {STAGE}")
    connection.execute(f"CREATE TEMPORARY TABLE dsp_stage ({columns}) ON COMMIT DROP")
    rows = _copy(connection, STAGE, what, stream, wire)
    if rows != stream.rows:
        raise Mismatch(f"{what.label}: {stream.rows:,} rows were sent, {rows:,} were staged")
    key = ", ".join(dialect.quote(f.column) for f in proof.key_fields(what))
    connection.execute(f"CREATE INDEX ON {STAGE} ({key})")
    # What is joined by; the other columns' statistics would cost as much as half of the COPY.
    connection.execute(f"ANALYZE {STAGE} ({key})")


def _merge(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    on_conflict: OnConflict,
    digest: bool,
) -> Written:
    staged = int(one(connection, f"SELECT count(*) FROM {STAGE}")[0])
    others, instead = Digest(0, 0, what.method), None
    if within is not None:
        others = _others(connection, what, within, digest)
    if on_conflict == "ignore" and digest:
        instead = _instead(connection, what)
    if what.notes:
        return _noted(
            connection, what, on_conflict, Written(staged, 0, others=others, instead=instead)
        )
    columns = _columns(what.fields)
    head = (
        f"INSERT INTO {what.table} AS t ({columns}) OVERRIDING SYSTEM VALUE "
        f"SELECT {columns} FROM {STAGE}"
    )
    if on_conflict == "error":
        try:
            inserted = connection.execute(head).rowcount
        except pg.UniqueViolation as error:
            raise BadValue(
                f"{what.label}: {error.diag.message_detail or error} The target holds this key "
                "already and on_conflict is error; nothing of the batch was written"
            ) from error
        return Written(inserted, inserted, others=others)
    key = ", ".join(dialect.quote(f.column) for f in proof.key_fields(what))
    if on_conflict == "ignore":
        alike = stage.alike(connection, what)
        inserted = connection.execute(f"{head} ON CONFLICT ({key}) DO NOTHING").rowcount
        stage.refuse_swallowed(connection, what)
        left = staged - inserted
        # Some of them may have come between the two statements.
        unlike = max(0, left - alike)
        return Written(
            staged, inserted, ignored=left, unlike=unlike, others=others, instead=instead
        )
    names = [dialect.quote(f.column) for f in stage.updatable(connection, what)]
    alike = stage.alike(connection, what) if stage.meddled(connection, what) else 0
    if not names:
        inserted = connection.execute(f"{head} ON CONFLICT ({key}) DO NOTHING").rowcount
        stage.refuse_swallowed(connection, what)
        return Written(staged, inserted, unchanged=staged - inserted, others=others)
    changes = ", ".join(f"{c} = EXCLUDED.{c}" for c in names)
    merge = (
        f"{head} ON CONFLICT ({key}) DO UPDATE SET {changes} "
        f"WHERE ROW({stage.identities(what.fields, 't')}) "
        f"IS DISTINCT FROM ROW({stage.identities(what.fields, 'EXCLUDED')})"
    )
    inserted, updated = _merged(connection, what, merge, staged)
    unchanged = staged - inserted - updated
    stage.refuse_swallowed(connection, what, unchanged - alike)
    return Written(staged, inserted, updated, unchanged=unchanged, others=others)


def _noted(
    connection: Connection, what: Projection, on_conflict: OnConflict, done: Written
) -> Written:
    """The same, and every row that is written is noted."""
    alike = stage.alike(connection, what) if on_conflict == "ignore" else 0
    inserted, updated, there = notes.merge(connection, what, on_conflict, done.rows)
    done = replace(done, inserted=inserted)
    if on_conflict == "ignore":
        return replace(done, ignored=there, unlike=max(0, there - alike))
    return replace(done, updated=updated, unchanged=there - updated)


def _merged(connection: Connection, what: Projection, merge: str, staged: int) -> tuple[int, int]:
    """Rows inserted and updated."""
    if what.dated == "rows":
        # A fresh row has no xmax; one that was updated carries this transaction's lock.
        return _two(
            connection,
            f"WITH merged AS ({merge} RETURNING xmax = 0 AS fresh) "
            "SELECT count(*) FILTER (WHERE fresh), count(*) FILTER (WHERE NOT fresh) FROM merged",
        )
    # What is routed to partitions tells nothing of itself. A row that somebody inserts between
    # the two statements is written as it should be, and counted as inserted.
    there = one(
        connection,
        f"SELECT count(*) FROM {STAGE} AS s JOIN {what.table} AS t ON {stage.matches(what)}",
    )[0]
    written = connection.execute(merge.encode()).rowcount
    inserted = min(staged - int(there), written)
    return inserted, written - inserted


def _others(connection: Connection, what: Projection, within: KeyRange, digest: bool) -> Digest:
    """The rows in the target's range that are not of this batch."""
    row_hash = proof.row_hash(what) if digest else "0"
    condition = dialect.range_condition(what.key, within)
    return proof.digest_of(
        connection,
        f"(SELECT {row_hash} AS h FROM {what.table} AS t WHERE {condition} "
        f"AND NOT EXISTS (SELECT 1 FROM {STAGE} AS s WHERE {stage.matches(what)})) AS o",
        what.method,
    )


def _instead(connection: Connection, what: Projection) -> Digest:
    """What ``ignore`` leaves in place, less what the source has for those keys."""
    row_hash = proof.row_hash(what)

    def of(kept: str, other: str) -> Digest:
        return proof.digest_of(
            connection,
            f"(SELECT {row_hash} AS h FROM {kept} WHERE EXISTS "
            f"(SELECT 1 FROM {other} WHERE {stage.matches(what)})) AS o",
            what.method,
        )

    return of(f"{what.table} AS t", f"{STAGE} AS s") - of(f"{STAGE} AS s", f"{what.table} AS t")


def _two(connection: Connection, statement: str) -> tuple[int, int]:
    row = one(connection, statement)
    return int(row[0]), int(row[1])


def create(connection: Connection, statements: tuple[str, ...] | list[str], table: str) -> None:
    """Runs the DDL unless the table came to be meanwhile."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (CREATING,))
        row = connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()
        if row is not None and row[0] is not None:
            return
        for statement in statements:
            connection.execute(statement)


def add_columns(connection: Connection, statements: Sequence[str]) -> None:
    """See ``adding.AddsColumns``. Without the lock a type that is made might be made twice."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (CREATING,))
        for statement in statements:
            connection.execute(statement.encode())
