"""Notes of what a run writes into a table, and how they are undone; see ``engine.notes``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg import errors as pg

from dsp_airflow.engine.errors import BadValue, Mismatch, Refused, Transient
from dsp_airflow.engine.model import Column, OnConflict, Projection
from dsp_airflow.engine.notes import UNDONE, KeptNote, Note, Standing, Tally, not_allowed
from dsp_airflow.engine.stores.postgres import catalog, dialect, proof, stage
from dsp_airflow.engine.stores.postgres.query import Connection, one
from dsp_airflow.engine.stores.postgres.stage import STAGE

_THERE: Final = "pg_temp.dsp_there"
_NEXT: Final = "pg_temp.dsp_next"
_INSERTED, _UPDATED = "inserted", "updated"
_OWN: Final = {
    "dsp_note": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "dsp_act": "text NOT NULL",
    "dsp_left": "text NOT NULL",
    "dsp_outcome": "text",
}
"""The note's own columns: its number, what was done, the digest of what was left, its end."""
_COLUMNS: Final = """
SELECT attname, attidentity = 'a' FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""
At = Callable[[str], AbstractContextManager[None]]


def merge(
    connection: Connection, what: Projection, on_conflict: OnConflict, staged: int
) -> tuple[int, int, int]:
    """Writes the staged rows and notes each; how many were inserted, updated and there before.

    Rows of the batch's keys are locked before they are noted; one that comes in between ends it.
    """
    connection.execute(f"DROP TABLE IF EXISTS {_THERE}".encode())
    columns = _list(_names(connection, what.table))
    connection.execute(
        f"CREATE TEMPORARY TABLE dsp_there ON COMMIT DROP AS SELECT {columns} FROM {what.notes} "
        "WITH NO DATA".encode()
    )
    there = updated = 0
    if on_conflict == "update":
        there = _lock(connection, what)
        updated = _update(connection, what)
    inserted = _insert(connection, what, on_conflict)
    stage.refuse_swallowed(connection, what)
    if on_conflict == "ignore":
        return inserted, 0, staged - inserted
    if inserted + there != staged:
        raise Transient(
            f"{what.label}: somebody inserted or deleted rows of the batch's keys meanwhile; "
            "nothing of the batch was written, retry"
        )
    return inserted, updated, there


def _lock(connection: Connection, what: Projection) -> int:
    names = _names(connection, what.table)
    theirs = ", ".join(f"t.{name}" for name in names)
    there = connection.execute(
        f"INSERT INTO {_THERE} ({_list(names)}) SELECT {theirs} FROM {what.table} AS t "
        f"JOIN {STAGE} AS s ON {stage.matches(what)} FOR UPDATE OF t".encode()
    ).rowcount
    key = ", ".join(dialect.quote(f.column) for f in proof.key_fields(what))
    connection.execute(f"CREATE INDEX ON {_THERE} ({key})".encode())
    connection.execute(f"ANALYZE {_THERE} ({key})".encode())
    return there


def _update(connection: Connection, what: Projection) -> int:
    """Sets what differs in the rows that were locked, and notes what they were."""
    fields = stage.updatable(connection, what)
    if not fields:
        return 0
    names = _names(connection, what.table)
    changes = ", ".join(f"{c} = s.{c}" for c in (dialect.quote(f.column) for f in fields))
    before = ", ".join(f"b.{name} AS {name}" for name in names)
    differ = (
        f"ROW({stage.identities(what.fields, 'b')}) IS DISTINCT FROM "
        f"ROW({stage.identities(what.fields, 's')})"
    )
    both = f"{STAGE} AS s JOIN {_THERE} AS b ON {stage.matches(what, 's', 'b')}"
    (wanted,) = one(connection, f"SELECT count(*) FROM {both} WHERE {differ}")
    updated = connection.execute(
        f"WITH written AS (UPDATE {what.table} AS t SET {changes} FROM {both} "
        f"WHERE {stage.matches(what)} AND {differ} "
        f"RETURNING {before}, {_digest(names, 't')} AS dsp_left) "
        f"INSERT INTO {what.notes} ({_list(names)}, dsp_act, dsp_left) "
        f"SELECT {_list(names)}, '{_UPDATED}', dsp_left FROM written".encode()
    ).rowcount
    if updated != wanted:
        raise Mismatch(
            f"{what.label}: {wanted:,} rows were to change and {updated:,} did; a trigger there "
            "keeps rows as they are. Nothing of the batch was written"
        )
    return updated


def _insert(connection: Connection, what: Projection, on_conflict: OnConflict) -> int:
    """Inserts rows whose keys were not there, and notes their keys."""
    columns = ", ".join(dialect.quote(f.column) for f in what.fields)
    key = ", ".join(dialect.quote(f.column) for f in proof.key_fields(what))
    own = ", ".join(
        f"t.{dialect.quote(f.column)} AS {dialect.quote(f.column)}" for f in proof.key_fields(what)
    )
    rest = "" if on_conflict == "error" else f"ON CONFLICT ({key}) DO NOTHING "
    try:
        return connection.execute(
            f"WITH written AS (INSERT INTO {what.table} AS t ({columns}) OVERRIDING SYSTEM VALUE "
            f"SELECT {columns} FROM {STAGE} AS s WHERE NOT EXISTS "
            f"(SELECT 1 FROM {_THERE} AS b WHERE {stage.matches(what, 's', 'b')}) {rest}"
            f"RETURNING {own}, {_digest(_names(connection, what.table), 't')} AS dsp_left) "
            f"INSERT INTO {what.notes} ({key}, dsp_act, dsp_left) "
            f"SELECT {key}, '{_INSERTED}', dsp_left FROM written".encode()
        ).rowcount
    except pg.UniqueViolation as error:
        if on_conflict != "error":
            raise
        raise BadValue(
            f"{what.label}: {error.diag.message_detail or error} The target holds this key "
            "already and on_conflict is error; nothing of the batch was written"
        ) from error


class PostgresNotes:
    """See ``engine.notes.Notes``."""

    def __init__(self, connection: Connection, what: Projection, at: At) -> None:
        self._connection = connection
        self._what = what
        self._at = at

    def refusals(self, *, create: bool) -> list[str]:
        """See ``engine.notes.Notes``."""
        what = self._what
        schema = what.markers.rpartition(".")[0]
        with self._at(what.label):
            (may_create,) = one(
                self._connection,
                "SELECT has_schema_privilege(to_regnamespace(%s)::oid, 'CREATE')",
                (schema,),
            )
            why = []
            if not may_create:
                why.append(
                    "the role may not create the table of notes: GRANT CREATE ON SCHEMA "
                    f"{schema} TO <role>"
                )
            if not create:
                names = [name for name, _ in _columns(self._connection, what.table)]
                why += [f"its column {name} has a name of ours" for name in names if name in _OWN]
        return why

    def prepare(self) -> None:
        """See ``engine.notes.Notes``."""
        what = self._what
        with self._at(what.notes):
            with self._connection.transaction():
                # Two workers creating at once would collide in the catalog.
                self._connection.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
                    (f"dsp_airflow creates {what.notes}",),
                )
                if not self._exists():
                    self._create()
            self.require_fitting()

    def tally(self) -> Tally | None:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.notes):
            if not self._exists():
                return None
            rows = self._connection.execute(
                "SELECT dsp_act, dsp_outcome, count(*) "
                f"FROM {self._what.notes} GROUP BY 1, 2".encode()
            ).fetchall()

        def of(act: str | None, outcome: str | None) -> int:
            return sum(n for a, o, n in rows if act in (None, a) and o == outcome)

        return Tally(
            inserted=of(_INSERTED, None),
            updated=of(_UPDATED, None),
            removed=of(_INSERTED, UNDONE),
            restored=of(_UPDATED, UNDONE),
            kept=sum(n for _, outcome, n in rows if outcome not in (None, UNDONE)),
        )

    def waiting(self, below: int | None, most: int) -> Sequence[Note]:
        """See ``engine.notes.Notes``."""
        what = self._what
        names = _names(self._connection, what.table)
        own = ", ".join(f"n.{k.column}::text" for k in what.key)
        bound = "" if below is None else f"AND dsp_note < {int(below)} "
        # Of a digest that is missing its row is.
        with self._at(what.notes):
            rows = self._connection.execute(
                f"SELECT n.dsp_note, n.dsp_act, d.same, {own} FROM (SELECT * FROM {what.notes} "
                f"WHERE dsp_outcome IS NULL {bound}ORDER BY dsp_note DESC LIMIT {int(most)}) AS n "
                f"LEFT JOIN LATERAL (SELECT {_digest(names, 't')} = n.dsp_left AS same "
                f"FROM {what.table} AS t WHERE {stage.matches(what, 'n', 't')}) AS d ON true "
                "ORDER BY n.dsp_note DESC".encode()
            ).fetchall()
        return [_note(row) for row in rows]

    def require_fitting(self) -> None:
        """See ``engine.notes.Notes``."""
        what = self._what
        with self._at(what.label):
            now, then = self._shape(what.table), self._shape(what.notes)
        if now != then:
            odd = sorted({name for name, *_ in now ^ then})
            raise Refused(
                f"{what.label} was altered since the notes in {what.notes} began "
                f"({', '.join(odd)}), so that they do not fit it; take the change back, or "
                "forget them"
            )

    def index(self) -> None:
        """See ``engine.notes.Notes``: only now, as each would cost whatever is noted."""
        what = self._what
        key = ", ".join(dialect.quote(f.column) for f in proof.key_fields(what))
        with self._at(what.notes), self._connection.transaction():
            (there,) = one(
                self._connection,
                "SELECT count(*) FROM pg_index WHERE indrelid = to_regclass(%s) "
                "AND NOT indisprimary",
                (what.notes,),
            )
            if there:
                return
            for index in (f"({key})", "(dsp_note) WHERE dsp_outcome IS NULL"):
                self._connection.execute(f"CREATE INDEX ON {what.notes} {index}".encode())
            self._connection.execute(f"ANALYZE {what.notes}".encode())

    @contextmanager
    def undoing(self) -> Iterator[PostgresUndoing]:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.label):
            work = PostgresUndoing(self._connection, self._what, self._at)
        try:
            yield work
        finally:
            if not self._connection.closed and not work.committed:
                with suppress(psycopg.OperationalError):
                    # A connection that cannot be told has rolled back by itself.
                    self._connection.execute("ROLLBACK")

    def kept(self, most: int) -> list[KeptNote]:
        """See ``engine.notes.Notes``."""
        own = ", ".join(f"{k.column}::text" for k in self._what.key)
        with self._at(self._what.notes):
            rows = self._connection.execute(
                f"SELECT dsp_act, dsp_outcome, {own} FROM {self._what.notes} "
                f"WHERE dsp_outcome <> '{UNDONE}' ORDER BY dsp_note DESC LIMIT {int(most)}".encode()
            ).fetchall()
        return [KeptNote(tuple(row[2:]), row[0] == _INSERTED, row[1]) for row in rows]

    def drop(self) -> None:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.notes):
            self._connection.execute(f"DROP TABLE IF EXISTS {self._what.notes}".encode())

    def _exists(self) -> bool:
        row = one(self._connection, "SELECT to_regclass(%s) IS NOT NULL", (self._what.notes,))
        return bool(row[0])

    def _create(self) -> None:
        what = self._what
        shape = catalog.describe(self._connection, what.table)
        columns = [] if shape is None else [c for c in shape.columns if not c.generated]
        # Of a domain its base: a note of a key alone has NULL elsewhere.
        listed = ", ".join(_carried(column) for column in columns)
        own = ", ".join(f"ADD {name} {kind}" for name, kind in _OWN.items())
        for statement in (
            f"CREATE TABLE {what.notes} AS SELECT {listed} FROM {what.table} WITH NO DATA",
            f"ALTER TABLE {what.notes} {own}",
        ):
            self._connection.execute(statement.encode())

    def _shape(self, table: str) -> set[tuple[str, str, str | None]]:
        shape = catalog.describe(self._connection, table)
        return {
            (c.name, c.carrier or c.native, c.collation)
            for c in (() if shape is None else shape.columns)
            if not c.generated and not (table == self._what.notes and c.name in _OWN)
        }


class PostgresUndoing:
    """See ``engine.notes.Undoing``."""

    def __init__(self, connection: Connection, what: Projection, at: At) -> None:
        self._connection = connection
        self._what = what
        self._at = at
        self.committed = False
        # Every statement re-reads what was committed meanwhile; what is put off acts at once.
        connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self._names = _names(connection, what.table)

    def take(self, most: int) -> Sequence[Note]:
        """See ``engine.notes.Undoing``."""
        what = self._what
        own = ", ".join(f"n.{k.column}::text" for k in what.key)
        key = ", ".join(dialect.quote(f.column) for f in proof.key_fields(what))
        with self._at(what.label):
            self._connection.execute(
                f"CREATE TEMPORARY TABLE dsp_next ON COMMIT DROP AS SELECT n.* FROM {what.notes} "
                "AS n WHERE n.dsp_outcome IS NULL AND NOT EXISTS (SELECT 1 "
                f"FROM {what.notes} AS l WHERE {stage.matches(what, 'l', 'n')} "
                "AND l.dsp_note > n.dsp_note AND l.dsp_outcome IS NULL) "
                f"ORDER BY n.dsp_note DESC LIMIT {int(most)}".encode()
            )
            self._connection.execute(f"CREATE INDEX ON {_NEXT} ({key})".encode())
            self._connection.execute(f"ANALYZE {_NEXT}".encode())
            standing: dict[int, bool] = dict(
                self._connection.execute(
                    f"SELECT n.dsp_note, {_digest(self._names, 't')} = n.dsp_left FROM {_NEXT} "
                    f"AS n JOIN {what.table} AS t ON {stage.matches(what, 'n', 't')} "
                    "FOR UPDATE OF t".encode()
                ).fetchall()
            )
            rows = self._connection.execute(
                f"SELECT n.dsp_note, n.dsp_act, NULL, {own} FROM {_NEXT} AS n "
                "ORDER BY n.dsp_note DESC".encode()
            ).fetchall()
        return [_note((number, act, standing.get(number), *key)) for number, act, _, *key in rows]

    def settle(self, undone: Collection[int], kept: Mapping[int, str]) -> None:
        """See ``engine.notes.Undoing``."""
        with self._at(self._what.label):
            why = dict(kept)
            try:
                with self._connection.transaction():
                    self._undo(list(undone))
            except psycopg.IntegrityError:
                # One by one, the youngest first: old values may have changed places since.
                why |= self._one_by_one(undone)
            self._end(UNDONE, [number for number in undone if number not in why])
            for reason in sorted(set(why.values())):
                self._end(reason, [number for number, told in why.items() if told == reason])

    def commit(self) -> None:
        """See ``engine.notes.Undoing``."""
        with self._at(self._what.label):
            self._connection.execute("COMMIT")
            self.committed = True

    def _one_by_one(self, undone: Collection[int]) -> dict[int, str]:
        why = {}
        for number in sorted(undone, reverse=True):
            try:
                with self._connection.transaction():
                    self._undo([number])
            except psycopg.IntegrityError as error:
                why[number] = not_allowed(error.diag.message_primary or str(error))
        return why

    def _undo(self, numbers: list[int]) -> None:
        what = self._what
        matches = proof.verbatim(stage.matches(what, "n", "t"))
        where = f"{matches} AND n.dsp_note = ANY (%s) AND n.dsp_act = %s"
        table = proof.verbatim(what.table)
        removed = self._connection.execute(
            f"DELETE FROM {table} AS t USING {_NEXT} AS n WHERE {where}".encode(),
            (numbers, _INSERTED),
        ).rowcount
        fixed = {name for name, always in _columns(self._connection, what.table) if always}
        quoted = {dialect.quote(name) for name in fixed}
        names = [name for name in self._names if name not in quoted]
        changes = ", ".join(f"{name} = n.{name}" for name in names)
        same = f"{_digest(self._names, 't')} = {_digest(self._names, 'n')}"
        restored = self._connection.execute(
            f"UPDATE {table} AS t SET {proof.verbatim(changes)} FROM {_NEXT} AS n WHERE {where} "
            f"RETURNING {proof.verbatim(same)}".encode(),
            (numbers, _UPDATED),
        ).fetchall()
        (wanted, changed) = one(
            self._connection,
            f"SELECT count(*) FILTER (WHERE dsp_act = '{_INSERTED}'), "
            f"count(*) FILTER (WHERE dsp_act = '{_UPDATED}') "
            f"FROM {_NEXT} WHERE dsp_note = ANY (%s)",
            (numbers,),
        )
        if (removed, len(restored)) != (wanted, changed) or not all(ok for (ok,) in restored):
            raise Refused(
                f"{what.label}: a trigger or rule there keeps rows, or makes others of them; "
                "nothing more was undone. Disable it, then repeat"
            )

    def _end(self, outcome: str, numbers: list[int]) -> None:
        self._connection.execute(
            f"UPDATE {proof.verbatim(self._what.notes)} SET dsp_outcome = %s "
            "WHERE dsp_note = ANY (%s)".encode(),
            (outcome, numbers),
        )


def _note(row: Sequence[Any]) -> Note:
    number, act, same, *key = row
    standing: Standing = "gone" if same is None else "left" if same else "changed"
    return Note(number, tuple(key), act == _INSERTED, standing)


def _columns(connection: Connection, table: str) -> list[tuple[str, bool]]:
    """All that is not generated, and whether it is an identity that no update may set."""
    return connection.execute(_COLUMNS, (table,)).fetchall()


def _names(connection: Connection, table: str) -> list[str]:
    return [dialect.quote(name) for name, _ in _columns(connection, table)]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _digest(names: Sequence[str], alias: str) -> str:
    """Of all columns as the server prints them, in the settings that every session of ours has."""
    return f"md5(ROW({', '.join(f'{alias}.{name}' for name in names)})::text)"


def _carried(column: Column) -> str:
    name = dialect.quote(column.name)
    return name if column.carrier is None else f"{name}::{column.carrier} AS {name}"


__all__ = ["PostgresNotes", "merge"]
