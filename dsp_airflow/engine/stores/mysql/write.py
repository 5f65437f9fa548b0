"""One batch into a target table: direct load or staging and merge, with a commit marker.

No REPLACE, INSERT IGNORE or ON DUPLICATE KEY: through a secondary unique index they take rows
that are not of the batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import MySQLdb

from dsp_airflow.engine import canon
from dsp_airflow.engine.errors import BadValue, Collision, Mismatch, Refused, Transient
from dsp_airflow.engine.model import (
    Digest,
    Key,
    KeyRange,
    OnConflict,
    Origin,
    Projection,
    Written,
)
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.mysql import dialect, load, markers, notes, proof, stage, translate
from dsp_airflow.engine.stores.mysql.names import quote
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, rows, texts
from dsp_airflow.engine.stores.mysql.stage import STAGE
from dsp_airflow.engine.stores.mysql.transactions import held, transaction
from dsp_airflow.engine.stores.mysql.warned import DUPLICATE, Duplicate

prepare_markers, forget_markers = markers.prepare, markers.forget
_MISSING, _EXISTS, _THERE = 1146, 1050, 1060
_MATCHED: Final = re.compile(r"Rows matched: (\d+) +Changed: (\d+)")


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
    with ExitStack() as stack:
        if marker is not None:
            # Holders of the same batch queue here; who comes second sees the marker.
            name = f"{what.markers}{marker!r}"
            stack.enter_context(held(connection, "batch", name, what.label))
            recovered = markers.found(connection, what, marker)
            if recovered is not None:
                return recovered
        if not what.key:
            # Without a key nobody could tell rows that stand there from those that come.
            stack.enter_context(held(connection, "filling", what.table, what.label))
        # A load straight into the table does not tell its rows from those of others.
        alone = _alone(connection, what, within, direct and ordered_alike and not what.notes)
        if not alone:
            stage.create(connection, what)
            if what.notes:
                notes.stage_notes(connection, what)
        with transaction(connection):
            if alone:
                done = _direct(connection, what, stream, wire)
            else:
                load.fill(connection, STAGE, what.fields, stream, wire, what.label)
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
                    f"{done.rows:,}. Nothing was written"
                )
            if marker is not None:
                markers.leave(connection, what, marker, done)
            fence()
        if not alone:
            stage.drop(connection)
            if what.notes:
                notes.drop_stage(connection)
    return done


def matching(connection: Connection, what: Projection, stream: Stream, *, wire: str) -> list[Key]:
    """See ``ports.Sifts``."""
    key = ", ".join(
        canon.mysql_text(quote(f.column), f.type, f.native) for f in proof.key_fields(what)
    )
    stage.create_typed(connection, what)
    with transaction(connection):
        load.fill(connection, STAGE, what.fields, stream, wire, what.label)
        found = texts(connection, f"SELECT {key} FROM {STAGE} WHERE {proof.condition(what, None)}")
    stage.drop(connection)
    return [tuple(str(part) for part in row) for row in found]


def create(connection: Connection, statements: Sequence[str], table: str) -> None:
    """Runs the DDL unless the table came to be meanwhile. ``table`` is quoted SQL."""
    with held(connection, "creating", table, table):
        try:
            rows(connection, f"SELECT 1 FROM {table} LIMIT 0")
        except MySQLdb.Error as error:
            if translate.number(error) != _MISSING:
                raise
        else:
            return
        for statement in statements:
            try:
                execute(connection, statement)
            except MySQLdb.Error as error:
                # By somebody who does not know of the lock.
                if translate.number(error) != _EXISTS:
                    raise


def add_columns(connection: Connection, table: str, statements: Sequence[str]) -> None:
    """See ``adding.AddsColumns``. ``table`` is quoted SQL."""
    with held(connection, "creating", table, table):
        for statement in statements:
            try:
                execute(connection, statement)
            except MySQLdb.Error as error:
                # Somebody has added it already.
                if translate.number(error) != _THERE:
                    raise


def _alone(connection: Connection, what: Projection, within: KeyRange, direct: bool) -> bool:
    """Whether rows go straight into the table: there is none that they could meet."""
    if what.key:
        return direct and _empty(connection, what, within)
    if _empty(connection, what, KeyRange()):
        return True
    raise Refused(
        f"{what.label} holds rows, and without a key nobody can tell which of them are copies; "
        "empty it first, or name unique columns under key. Nothing was written"
    )


def _empty(connection: Connection, what: Projection, within: KeyRange) -> bool:
    condition = dialect.range_condition(what.key, within)
    return not rows(connection, f"SELECT 1 FROM {what.table} WHERE {condition} LIMIT 1")


def _direct(connection: Connection, what: Projection, stream: Stream, wire: str) -> Written:
    try:
        loaded = load.fill(connection, what.table, what.fields, stream, wire, what.label)
    except Duplicate as error:
        if not what.key:
            raise _taken(what, error) from error
        raise Collision(f"{what.label}: rows appeared in the range") from error
    return Written(loaded, loaded, others=Digest(0, 0, what.method))


def _merge(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    on_conflict: OnConflict,
    digest: bool,
) -> Written:
    stage.refuse_twins(connection, what)
    staged = _number(connection, f"SELECT COUNT(*) FROM {STAGE}")
    others, instead = Digest(0, 0, what.method), None
    if within is not None:
        others = _others(connection, what, within, digest)
    if on_conflict == "ignore" and digest:
        instead = _instead(connection, what)
    # Locked: none of them goes away, and none that comes is taken for one that was there.
    lock = " FOR UPDATE" if on_conflict == "update" or what.notes else ""
    there = _there(connection, what, ending=lock)
    stage.refuse_namesakes(connection, what)
    if on_conflict == "error" and there:
        raise _standing(connection, what)
    updated, unlike = 0, 0
    if what.notes:
        notes.before(connection, what, on_conflict)
    if on_conflict == "ignore":
        unlike = there - _there(connection, what, stage.alike(what.fields))
    elif on_conflict == "update":
        updated = _update(connection, what)
    inserted = _insert(connection, what, there)
    if inserted != staged - there:
        raise _moving(what)
    if what.notes:
        notes.after(connection, what, updated, inserted)
    done = Written(staged, inserted, updated, others=others, instead=instead)
    if on_conflict == "ignore":
        return replace(done, ignored=there, unlike=max(0, unlike))
    return replace(done, unchanged=there - updated)


def _moving(what: Projection) -> Transient:
    return Transient(
        f"{what.label}: somebody inserted or deleted rows of the batch's keys meanwhile; nothing "
        "of the batch was written, retry"
    )


def _update(connection: Connection, what: Projection) -> int:
    """Sets what differs; the key is never set, for its texts are the same already."""
    fields = what.fields[len(what.key) :]
    if not fields:
        return 0
    changes = ", ".join(f"t.{quote(f.column)} = s.{quote(f.column)}" for f in fields)
    try:
        connection.query(
            f"UPDATE {STAGE} AS s STRAIGHT_JOIN {what.table} AS t ON {stage.matches(what)} "
            f"SET {changes} WHERE NOT ({stage.alike(fields)})"
        )
        connection.store_result()
    except MySQLdb.Error as error:
        if translate.number(error) == DUPLICATE:
            raise _taken(what, error) from error
        raise
    found = _MATCHED.search(load.text(connection.info()))
    if found is None:
        raise Transient(f"{what.label}: the server did not say what it updated")
    matched, changed = map(int, found.groups())
    if matched != changed:
        raise Mismatch(
            f"{what.label}: {matched:,} rows were to change and {changed:,} did; a trigger there "
            "keeps rows as they are, or two rows there have one key. Nothing of the batch was "
            "written"
        )
    return changed


def _insert(connection: Connection, what: Projection, there: int) -> int:
    """Inserts the staged rows whose key the target does not have."""
    columns = ", ".join(quote(f.column) for f in what.fields)
    staged = ", ".join(f"s.{quote(f.column)}" for f in what.fields)
    try:
        return execute(
            connection,
            # Not by an outer join: IS NULL is true of 0000-00-00 in a date that takes no NULL.
            f"INSERT INTO {what.table} ({columns}) SELECT {staged} FROM {STAGE} AS s "
            f"WHERE NOT EXISTS (SELECT 1 FROM {what.table} AS t WHERE {stage.matches(what)})",
        )
    except MySQLdb.Error as error:
        if translate.number(error) != DUPLICATE:
            raise
        if _there(connection, what) > there:
            raise _moving(what) from error
        raise _taken(what, error) from error


def _taken(what: Projection, error: MySQLdb.Error | Duplicate) -> BadValue:
    text = translate.message(error) if isinstance(error, MySQLdb.Error) else str(error)
    return BadValue(
        f"{what.label}: {text}. Another row there, which is not of the batch, holds this value; "
        "nothing of the batch was written"
    )


def _standing(connection: Connection, what: Projection) -> BadValue:
    key = ", ', ', ".join(
        canon.mysql_key_text(f"s.{quote(f.column)}", f.native) for f in proof.key_fields(what)
    )
    found = texts(
        connection,
        f"SELECT CONCAT({key}) FROM {STAGE} AS s STRAIGHT_JOIN {what.table} AS t "
        f"ON {stage.matches(what)} LIMIT 1",
    )
    name = found[0][0] if found else "of the batch"
    return BadValue(
        f"{what.label}: the target holds key ({name}) already and on_conflict is error; nothing "
        "of the batch was written"
    )


def _there(
    connection: Connection, what: Projection, condition: str = "TRUE", ending: str = ""
) -> int:
    """Staged rows whose key the target has."""
    return _number(
        connection,
        f"SELECT COUNT(*) FROM {STAGE} AS s STRAIGHT_JOIN {what.table} AS t "
        f"ON {stage.matches(what)} WHERE {condition}{ending}",
    )


def _others(connection: Connection, what: Projection, within: KeyRange, digest: bool) -> Digest:
    """The rows in the target's range that are not of this batch."""
    outside = replace(what, table=f"{what.table} AS t")
    condition = (
        f"{dialect.range_condition(what.key, within)} "
        f"AND NOT EXISTS (SELECT 1 FROM {STAGE} AS s WHERE {stage.matches(what)})"
    )
    if digest:
        return proof.digest_where(connection, outside, condition)
    return Digest(proof.count_where(connection, outside, condition), 0, what.method)


def _instead(connection: Connection, what: Projection) -> Digest:
    """What ``ignore`` leaves in place, less what the source has for those keys."""

    def of(kept: str, other: str) -> Digest:
        return proof.digest_where(
            connection,
            replace(what, table=kept),
            f"EXISTS (SELECT 1 FROM {other} WHERE {stage.matches(what)})",
        )

    return of(f"{what.table} AS t", f"{STAGE} AS s") - of(f"{STAGE} AS s", f"{what.table} AS t")


def _number(connection: Connection, statement: str) -> int:
    return int(str(one(connection, statement)[0]))
