"""Notes of what a run writes into a table, and how they are undone; see ``engine.notes``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

import MySQLdb

from dsp_airflow.engine.errors import Refused, Transient
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.notes import (
    LONGEST,
    UNDONE,
    KeptNote,
    Note,
    Standing,
    Tally,
    not_allowed,
)
from dsp_airflow.engine.stores.mysql import grants, proof, stage, translate
from dsp_airflow.engine.stores.mysql.names import BYTES, base, quote, split_name, text_literal
from dsp_airflow.engine.stores.mysql.purge import ISOLATION
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, texts
from dsp_airflow.engine.stores.mysql.stage import STAGE
from dsp_airflow.engine.stores.mysql.transactions import held

At = Callable[[str], AbstractContextManager[None]]
_TAKEN: Final = "`dsp_taken`"
"""A TEMPORARY table of notes that a transaction makes, or goes by; none may name it twice."""
_INSERTED, _UPDATED = "inserted", "updated"
_OWN: Final = {
    "dsp_note": "BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY",
    "dsp_act": "VARCHAR(8) CHARACTER SET ascii NOT NULL",
    "dsp_left": "CHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
    "dsp_outcome": f"VARCHAR({LONGEST}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL",
}
"""The note's own columns: its number, what was done, the digest of what was left, its end."""
_COLUMNS: Final = """
SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {name} AND COALESCE(GENERATION_EXPRESSION, '') = ''
ORDER BY ORDINAL_POSITION
"""
_PLAIN: Final = frozenset(
    [
        *("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year"),
        *("date", "time", "datetime", "timestamp", "uuid", "inet4", "inet6"),
    ]
)
"""Types whose equal values have one text, and a short one."""
_REFERRED: Final = frozenset({1216, 1217, 1451, 1452})
"""The first two are said to a login that may not see the other table."""
_KEPT: Final = _REFERRED | translate.DUPLICATES | translate.UNPLACED | frozenset({1048, 3819, 4025})
"""Numbers of errors with which a server keeps a row as it is: references, unique keys, partitions,
checks."""


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    native: str
    charset: str | None
    collation: str | None

    @property
    def quoted(self) -> str:
        return quote(self.name)

    @property
    def ddl(self) -> str:
        """Of a note, which has NULL in what it does not tell."""
        words = f" CHARACTER SET {self.charset} COLLATE {self.collation}" if self.charset else ""
        return f"{self.quoted} {self.native}{words} NULL"

    def text(self, row: str) -> str:
        """One text for each value, to the byte, and a short one."""
        column, word = f"{row}.{self.quoted}", base(self.native)
        if word in _PLAIN:
            return f"CAST({column} AS CHAR)"
        if word in ("float", "double"):
            return f"CAST({column} * 1e0 AS CHAR)"
        if word == "json":
            return f"SHA1(CAST({column} AS CHAR))"
        if word in BYTES or self.charset:
            return f"SHA1({column})"
        return f"HEX({column})" if word == "bit" else f"SHA1(HEX({column}))"


def stage_notes(connection: Connection, what: Projection) -> None:
    """Where a batch's notes come to be; to be called outside of transactions."""
    drop_stage(connection)
    own = ", ".join(f"{name} {kind}" for name, kind in _OWN.items())
    columns = ", ".join(column.ddl for column in _columns(connection, what.table))
    execute(
        connection,
        f"CREATE TEMPORARY TABLE {_TAKEN} ({own}, {columns}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
    )


def drop_stage(connection: Connection) -> None:
    """Ends no transaction, unlike other DDL."""
    execute(connection, f"DROP TEMPORARY TABLE IF EXISTS {_TAKEN}")


def before(connection: Connection, what: Projection, on_conflict: str) -> None:
    """Takes down what is about to be updated, as it is, and the keys that are to be inserted.

    The rows of the batch's keys that are there are locked.
    """
    names = [column.quoted for column in _columns(connection, what.table)]
    fields = what.fields[len(what.key) :]
    if on_conflict == "update" and fields:
        theirs = ", ".join(f"t.{name}" for name in names)
        execute(
            connection,
            f"INSERT INTO {_TAKEN} ({', '.join(names)}, dsp_act, dsp_left) "
            f"SELECT {theirs}, '{_UPDATED}', '' FROM {STAGE} AS s STRAIGHT_JOIN {what.table} AS t "
            f"ON {stage.matches(what)} WHERE NOT ({stage.alike(fields)})",
        )
    key = [quote(field.column) for field in proof.key_fields(what)]
    execute(
        connection,
        f"INSERT INTO {_TAKEN} ({', '.join(key)}, dsp_act, dsp_left) "
        f"SELECT {', '.join(f's.{name}' for name in key)}, '{_INSERTED}', '' FROM {STAGE} AS s "
        f"WHERE NOT EXISTS (SELECT 1 FROM {what.table} AS t WHERE {stage.matches(what)})",
    )


def after(connection: Connection, what: Projection, updated: int, inserted: int) -> None:
    """Notes it, with the digests of the rows as they are now."""
    columns = _columns(connection, what.table)
    names = ", ".join(column.quoted for column in columns)
    mine = ", ".join(f"n.{column.quoted}" for column in columns)
    for act, wanted in ((_UPDATED, updated), (_INSERTED, inserted)):
        noted = execute(
            connection,
            f"INSERT INTO {what.notes} ({names}, dsp_act, dsp_left) SELECT {mine}, n.dsp_act, "
            f"{_digest(columns, 't')} FROM {_TAKEN} AS n STRAIGHT_JOIN {what.table} AS t "
            f"ON {_matches(what)} WHERE n.dsp_act = '{act}'",
        )
        if noted != wanted:
            raise Transient(
                f"{what.label}: {wanted:,} rows were {act} and {noted:,} could be noted, as others "
                "changed rows of these keys meanwhile; nothing of the batch was written, retry"
            )


class MySqlNotes:
    """See ``engine.notes.Notes``."""

    def __init__(self, connection: Connection, what: Projection, at: At) -> None:
        self._connection = connection
        self._what = what
        self._at = at

    def refusals(self, *, create: bool) -> list[str]:
        """See ``engine.notes.Notes``."""
        what = self._what
        schema, _ = split_name(what.markers)
        with self._at(what.label):
            may = grants.held(self._connection, schema or "").schema
            why = [
                f"the role may not {privilege} the table of notes: GRANT {privilege} ON "
                f"{quote(schema or '')}.* TO <user>"
                for privilege in ("CREATE", "DROP")
                if privilege not in may
            ]
            if not create:
                names = [column.name for column in _columns(self._connection, what.table)]
                why += [f"its column {name} has a name of ours" for name in names if name in _OWN]
        return why

    def prepare(self) -> None:
        """See ``engine.notes.Notes``."""
        what = self._what
        with self._at(what.notes):
            with held(self._connection, "creating", what.notes, what.label):
                if not self._exists():
                    own = ", ".join(f"{name} {kind}" for name, kind in _OWN.items())
                    columns = _columns(self._connection, what.table)
                    execute(
                        self._connection,
                        f"CREATE TABLE {what.notes} ({own}, "
                        f"{', '.join(column.ddl for column in columns)}, "
                        f"KEY `dsp_key` ({_index(what)}), "
                        "KEY `dsp_waits` (dsp_outcome, dsp_note)) "
                        "ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
                    )
            self.require_fitting()

    def tally(self) -> Tally | None:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.notes):
            if not self._exists():
                return None
            rows = texts(
                self._connection,
                f"SELECT dsp_act, COALESCE(dsp_outcome, ''), COUNT(*) FROM {self._what.notes} "
                "GROUP BY 1, 2",
            )

        def of(act: str, outcome: str) -> int:
            return sum(int(n or 0) for a, o, n in rows if (a, o) == (act, outcome))

        return Tally(
            inserted=of(_INSERTED, ""),
            updated=of(_UPDATED, ""),
            removed=of(_INSERTED, UNDONE),
            restored=of(_UPDATED, UNDONE),
            kept=sum(int(n or 0) for _, outcome, n in rows if outcome not in ("", UNDONE)),
        )

    def waiting(self, below: int | None, most: int) -> Sequence[Note]:
        """See ``engine.notes.Notes``."""
        what = self._what
        columns = _columns(self._connection, what.table)
        bound = "" if below is None else f"AND dsp_note < {int(below)} "
        chunk = (
            f"(SELECT * FROM {what.notes} WHERE dsp_outcome IS NULL {bound}"
            f"ORDER BY dsp_note DESC LIMIT {int(most)}) AS n"
        )
        with self._at(what.notes):
            same = texts(
                self._connection,
                f"SELECT n.dsp_note, {_digest(columns, 't')} = n.dsp_left FROM {chunk} "
                f"STRAIGHT_JOIN {what.table} AS t ON {_matches(what)}",
            )
            rows = texts(
                self._connection,
                f"SELECT dsp_note, dsp_act, {', '.join(proof.own_key(what))} FROM {chunk} "
                "ORDER BY dsp_note DESC",
            )
        return _notes(rows, {row[0]: row[1] for row in same})

    def require_fitting(self) -> None:
        """See ``engine.notes.Notes``."""
        what = self._what
        with self._at(what.label):
            now = set(_columns(self._connection, what.table))
            then = {c for c in _columns(self._connection, what.notes) if c.name not in _OWN}
        if now != then:
            odd = sorted({column.name for column in now ^ then})
            raise Refused(
                f"{what.label} was altered since the notes in {what.notes} began "
                f"({', '.join(odd)}), so that they do not fit it; take the change back, or forget "
                "them"
            )

    def index(self) -> None:
        """See ``engine.notes.Notes``: the table is created with it.

        A login that may create a table may not give it an index afterwards.
        """

    @contextmanager
    def undoing(self) -> Iterator[MySqlUndoing]:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.label):
            work = MySqlUndoing(self._connection, self._what, self._at)
        try:
            yield work
        finally:
            # A session that is lost has rolled back by itself.
            with contextlib.suppress(MySQLdb.Error):
                work.close()

    def kept(self, most: int) -> list[KeptNote]:
        """See ``engine.notes.Notes``."""
        own = ", ".join(proof.own_key(self._what))
        with self._at(self._what.notes):
            rows = texts(
                self._connection,
                f"SELECT dsp_act, dsp_outcome, {own} FROM {self._what.notes} WHERE "
                f"dsp_outcome <> '{UNDONE}' ORDER BY dsp_note DESC LIMIT {int(most)}",
            )
        return [
            KeptNote(tuple(map(str, key)), act == _INSERTED, str(why)) for act, why, *key in rows
        ]

    def drop(self) -> None:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.notes):
            execute(self._connection, f"DROP TABLE IF EXISTS {self._what.notes}")

    def _exists(self) -> bool:
        return bool(_columns(self._connection, self._what.notes))


class MySqlUndoing:
    """See ``engine.notes.Undoing``. ``close`` must follow, whatever happened.

    The session does not commit by itself meanwhile: the server undoes a whole transaction on a
    deadlock, and what came after that would be final at once.
    """

    def __init__(self, connection: Connection, what: Projection, at: At) -> None:
        self._connection = connection
        self._what = what
        self._at = at
        self._columns = _columns(connection, what.table)
        stage_notes(connection, what)
        execute(connection, "SET autocommit = 0")
        execute(connection, "ROLLBACK")
        execute(connection, ISOLATION)
        execute(connection, "START TRANSACTION")

    def take(self, most: int) -> Sequence[Note]:
        """See ``engine.notes.Undoing``."""
        what = self._what
        names = ", ".join(c.quoted for c in self._columns)
        later = " AND ".join(f"l.{key} = n.{key}" for key in _key(what))
        with self._at(what.label):
            execute(
                self._connection,
                f"INSERT INTO {_TAKEN} ({names}, {', '.join(_OWN)}) "
                f"SELECT {names}, {', '.join(_OWN)} FROM {what.notes} AS n "
                f"WHERE n.dsp_outcome IS NULL AND NOT EXISTS (SELECT 1 FROM {what.notes} AS l "
                f"WHERE {later} AND l.dsp_note > n.dsp_note AND l.dsp_outcome IS NULL) "
                f"ORDER BY n.dsp_note DESC LIMIT {int(most)}",
            )
            same = texts(
                self._connection,
                f"SELECT n.dsp_note, {_digest(self._columns, 't')} = n.dsp_left FROM {_TAKEN} "
                f"AS n STRAIGHT_JOIN {what.table} AS t ON {_matches(what)} FOR UPDATE",
            )
            rows = texts(
                self._connection,
                f"SELECT dsp_note, dsp_act, {', '.join(proof.own_key(what))} FROM {_TAKEN} "
                "ORDER BY dsp_note DESC",
            )
        return _notes(rows, {row[0]: row[1] for row in same})

    def settle(self, undone: Collection[int], kept: Mapping[int, str]) -> None:
        """See ``engine.notes.Undoing``."""
        with self._at(self._what.label):
            why = dict(kept)
            told = self._try(list(undone))
            if told is not None:
                # One by one, the youngest first: old values may have changed places since.
                for number in sorted(undone, reverse=True):
                    told = self._try([number])
                    if told is not None:
                        why[number] = not_allowed(told)
            self._end(UNDONE, [number for number in undone if number not in why])
            for reason in sorted(set(why.values())):
                self._end(reason, [number for number, text in why.items() if text == reason])

    def commit(self) -> None:
        """See ``engine.notes.Undoing``."""
        with self._at(self._what.label):
            execute(self._connection, "COMMIT")

    def close(self) -> None:
        """What is not committed is undone."""
        execute(self._connection, "ROLLBACK")
        execute(self._connection, "SET autocommit = 1")
        drop_stage(self._connection)

    def _try(self, numbers: list[int]) -> str | None:
        """Why the server keeps rows as they are; nothing is done of it then."""
        execute(self._connection, "SAVEPOINT dsp_undo")
        try:
            self._undo(numbers)
        except MySQLdb.Error as error:
            if translate.number(error) not in _KEPT:
                raise
            execute(self._connection, "ROLLBACK TO SAVEPOINT dsp_undo")
            return translate.message(error)
        return None

    def _undo(self, numbers: list[int]) -> None:
        if not numbers:
            return
        what, listed = self._what, ", ".join(map(str, numbers))
        both = f"{_TAKEN} AS n STRAIGHT_JOIN {what.table} AS t ON {_matches(what)}"
        where = f"n.dsp_note IN ({listed}) AND n.dsp_act ="
        (wanted,) = one(
            self._connection,
            f"SELECT COUNT(*) FROM {_TAKEN} AS n WHERE {where} '{_INSERTED}'",
        )
        (changed,) = one(
            self._connection,
            f"SELECT COUNT(*) FROM {_TAKEN} AS n WHERE {where} '{_UPDATED}'",
        )
        removed = execute(self._connection, f"DELETE t FROM {both} WHERE {where} '{_INSERTED}'")
        keys = set(_key(what))
        changes = ", ".join(
            f"t.{c.quoted} = n.{c.quoted}" for c in self._columns if c.quoted not in keys
        )
        if changes:
            execute(self._connection, f"UPDATE {both} SET {changes} WHERE {where} '{_UPDATED}'")
        (restored,) = one(
            self._connection,
            f"SELECT COUNT(*) FROM {both} WHERE {where} '{_UPDATED}' "
            f"AND {_digest(self._columns, 't')} = {_digest(self._columns, 'n')}",
        )
        if (str(removed), restored) != (wanted, changed):
            raise Refused(
                f"{what.label}: a trigger there keeps rows, or makes others of them; nothing more "
                "was undone. Drop it, then repeat"
            )

    def _end(self, outcome: str, numbers: list[int]) -> None:
        if numbers:
            execute(
                self._connection,
                f"UPDATE {self._what.notes} SET dsp_outcome = {text_literal(outcome)} "
                f"WHERE dsp_note IN ({', '.join(map(str, numbers))})",
            )


def _notes(
    rows: Sequence[Sequence[str | None]], same: Mapping[str | None, str | None]
) -> list[Note]:
    found = []
    for number, act, *key in rows:
        left = same.get(number)
        standing: Standing = "gone" if left is None else "left" if left == "1" else "changed"
        found.append(Note(int(number or 0), tuple(map(str, key)), act == _INSERTED, standing))
    return found


def _columns(connection: Connection, table: str) -> list[_Column]:
    schema, name = split_name(table)
    where = {
        "schema": "DATABASE()" if schema is None else text_literal(schema),
        "name": text_literal(name),
    }
    return [
        _Column(str(row[0]), re.sub(r" /\*.*\*/", "", str(row[1])), row[2], row[3])
        for row in texts(connection, _COLUMNS.format(**where))
    ]


def _key(what: Projection) -> list[str]:
    return [quote(field.column) for field in proof.key_fields(what)]


def _matches(what: Projection) -> str:
    """A note ``n`` and a row ``t`` of the target have the same key."""
    return " AND ".join(f"n.{key} = t.{key}" for key in _key(what))


def _index(what: Projection) -> str:
    return ", ".join(stage.part(field) for field in proof.key_fields(what)[: stage.INDEXED])


def _digest(columns: Sequence[_Column], row: str) -> str:
    parts = ", ".join(f"COALESCE(CONCAT('v', {c.text(row)}), 'n')" for c in columns)
    return f"CONVERT(SHA1(CONCAT_WS(',', {parts})) USING ascii) COLLATE ascii_bin"


__all__ = ["MySqlNotes", "after", "before", "drop_stage", "stage_notes"]
