"""A table built beside another one and renamed over it, in one transaction."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import Any, Final

from psycopg import errors as pg

from dsp_airflow.config.scalars import format_duration
from dsp_airflow.engine.errors import Contended, Denied, Refused
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.postgres import carried, dependents, proof, write
from dsp_airflow.engine.stores.postgres.dialect import split_name
from dsp_airflow.engine.stores.postgres.names import quote, text_literal
from dsp_airflow.engine.stores.postgres.query import Connection, one
from dsp_airflow.engine.swap import Replacement, gone

TURN: Final = timedelta(seconds=1)
"""How long one wait for the lock may be: whoever comes after us waits behind us."""
BETWEEN: Final = 0.5
"""Seconds at most until the next one."""
FILLED: Final = "dsp_airflow has filled this table, which is to take the place of {label}"


SETTINGS: Final = ("search_path = ''", "default_tablespace = ''", "statement_timeout = 0")

TRIGGERS = """
SELECT tgname FROM pg_trigger
WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 4 <> 0
ORDER BY 1
"""


class PostgresSwaps:
    """See ``swap.Swaps``. Driver errors are not translated yet."""

    def __init__(self, connection: Connection, patience: timedelta) -> None:
        self.connection = connection
        self.patience = patience

    def refusals(self, what: Projection, *, create: bool) -> list[str]:
        """See ``swap.Swaps``."""
        schema, name = split_name(what.table)
        schema = str(schema)
        if create:
            return dependents.published(self.connection, schema, name)
        why = dependents.refusals(self.connection, what.table)
        allowed = one(
            self.connection,
            "SELECT has_schema_privilege(to_regnamespace(%s)::oid, 'CREATE')",
            (quote(schema),),
        )
        if not allowed[0]:
            why.append(
                f"the role may not create the new table beside {what.label}: GRANT CREATE ON "
                f"SCHEMA {schema} TO <role>"
            )
        return why

    def warnings(self, what: Projection) -> list[str]:
        """See ``swap.Swaps``."""
        rows = self.connection.execute(TRIGGERS.encode(), (what.table,)).fetchall()
        if not rows:
            return []
        names = ", ".join(str(row[0]) for row in rows)
        told = (
            f"insert triggers of {what.label} ({names}) do not run for the rows that are copied: "
            "the new table gets them when it is filled"
        )
        return [told]

    def beside(self, what: Projection) -> list[str]:
        """See ``swap.Swaps``."""
        rows = self.connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = (parse_ident(%s))[1] AND c.relkind = 'r' "
            "AND starts_with(c.relname, 'dsp_') ORDER BY 1",
            (what.table,),
        ).fetchall()
        return [str(row[0]) for row in rows]

    def build(self, new: Replacement, *, begun: bool) -> None:
        """See ``swap.Swaps``."""
        table, built = new.target.table, new.built.table
        if not write.prepare_markers(self.connection, new.built):
            raise Denied(
                f"{new.target.label}: a swap is marked in {new.built.markers}, which the role may "
                "not create or write; create it, or GRANT SELECT, INSERT, DELETE on it"
            )
        with self.connection.transaction():
            self.connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (write.CREATING,))
            if _there(self.connection, built):
                return
            if begun:
                raise Refused(gone(new))
            _settle(self.connection)
            if new.create:
                # Under its own name first, which nobody sees: so its key is called after that.
                _run(self.connection, [*new.ddl, _rename(table, built)])
                return
            _run(self.connection, carried.created_like(self.connection, table, built))
            key = frozenset(f.column for f in proof.key_fields(new.target))
            keeping = [i for i in carried.indexes(self.connection, table) if key and i.keeps == key]
            for index in keeping[:1]:
                _create(self.connection, index, built)

    def complete(self, new: Replacement) -> None:
        """See ``swap.Swaps``. One thing at a time, so that a repetition goes on."""
        built = new.built.table
        if not _there(self.connection, built):
            raise Refused(gone(new))
        filled = text_literal(FILLED.format(label=new.target.label))
        if not new.create:
            with self.connection.transaction():
                _settle(self.connection)
                indexes, references = _missing(self.connection, new)
            for index in indexes:
                with self.connection.transaction():
                    _settle(self.connection)
                    _create(self.connection, index, built)
            for reference in references:
                for statement in reference.statements(built):
                    # Apart: the second takes long, and needs less of a lock than the first.
                    with self.connection.transaction():
                        _settle(self.connection)
                        _run(self.connection, [statement])
        if (
            one(self.connection, "SELECT obj_description(%s::regclass, 'pg_class')", (built,))[0]
            is None
        ):
            self.connection.execute(f"ANALYZE {built}".encode())
            self.connection.execute(f"COMMENT ON TABLE {built} IS {filled}".encode())

    def swap(self, new: Replacement) -> None:
        """See ``swap.Swaps``."""
        give_up = time.monotonic() + self.patience.total_seconds()
        _await_old_snapshots(self.connection, new, give_up, self.patience)
        wait = max(1, min(TURN, self.patience) // timedelta(milliseconds=1))
        while True:
            try:
                with self.connection.transaction():
                    _settle(self.connection)
                    _run(self.connection, [f"SET LOCAL lock_timeout = {wait}"])
                    _take_place(self.connection, new)
            except pg.LockNotAvailable as error:
                if time.monotonic() >= give_up:
                    raise Contended(_denied(self.connection, new, self.patience)) from error
                time.sleep(random.uniform(0, BETWEEN))  # noqa: S311 - no secret
            except pg.DependentObjectsStillExist as error:
                raise Refused(
                    f"{new.target.label}: {error.diag.message_primary}: "
                    f"{error.diag.message_detail}; drop what depends on it, or use mode: full. "
                    "The table is as it was"
                ) from error
            else:
                return

    def swapped(self, new: Replacement) -> bool:
        """See ``swap.Swaps``."""
        if not _there(self.connection, new.built.markers):
            return False
        row = self.connection.execute(
            f"SELECT 1 FROM {proof.verbatim(new.built.markers)} "
            "WHERE run = %s AND job = %s AND batch = %s",
            new.marker,
        ).fetchone()
        return row is not None

    def discard(self, table: str) -> None:
        """See ``swap.Swaps``."""
        self.connection.execute(f"DROP TABLE IF EXISTS {table}".encode())

    def tidy(self, new: Replacement) -> None:
        """See ``swap.Swaps``. The old table went with the transaction that replaced it."""
        write.forget_markers(self.connection, new.built, new.run, new.job)


def _take_place(connection: Connection, new: Replacement) -> None:
    """The whole of the swap, in the caller's transaction."""
    table, built = new.target.table, new.built.table
    if not _there(connection, built):
        raise Refused(gone(new))
    if new.create:
        if _there(connection, table):
            raise Refused(
                f"{new.target.label} came to be since the run was planned; start a new run"
            )
        statements = [f"COMMENT ON TABLE {built} IS NULL", _rename(built, table)]
    else:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        connection.execute(f"LOCK TABLE {built} IN ACCESS EXCLUSIVE MODE".encode())
        why = dependents.refusals(connection, table)
        if why:
            raise Refused(f"{'; '.join(why)}. The table is as it was")
        if carried.likeness(connection, table) != carried.likeness(connection, built):
            raise Refused(
                f"{new.target.label} was altered since the new table was built like it; it is as "
                "it was. Start a new run"
            )
        statements = _statements(connection, new)
    _run(connection, statements)
    connection.execute(
        f"INSERT INTO {proof.verbatim(new.built.markers)} (run, job, batch, outcome) "
        "VALUES (%s, %s, %s, 'swapped')",
        new.marker,
    )


def _missing(
    connection: Connection, new: Replacement
) -> tuple[list[carried.Index], list[carried.Reference]]:
    """What the old table has and the new one lacks as yet."""
    table, built = new.target.table, new.built.table
    there = {index.name for index in carried.indexes(connection, built)}
    bound = {
        (reference.name, reference.valid) for reference in carried.references(connection, built)
    }
    return (
        [i for i in carried.indexes(connection, table) if i.name_on(built) not in there],
        [r for r in carried.references(connection, table) if (r.name, r.valid) not in bound],
    )


def _statements(connection: Connection, new: Replacement) -> list[str]:
    """In order: what the old table has is read before it is dropped."""
    table, built = new.target.table, new.built.table
    schema = str(split_name(table)[0])
    missing = [one_of.name for several in _missing(connection, new) for one_of in several]
    if missing:
        # The next attempt makes them.
        raise Contended(f"{new.target.label} has got {', '.join(missing)} a moment ago; retry")
    indexes = carried.indexes(connection, table)
    references = carried.references(connection, table)
    (old_oid, new_oid) = one(
        connection, "SELECT %s::regclass::oid, %s::regclass::oid", (table, built)
    )
    owned, numbered = _sequences(connection, old_oid, new_oid, schema)
    after = carried.named(connection, table)
    after += carried.grants(connection, old_oid, new_oid, table, "TABLE")
    for index in indexes:
        place = {"table": table, "index": f"{quote(schema)}.{quote(index.name)}"}
        after += [statement.format(**place) for statement in index.after]
    after += [
        f"COMMENT ON CONSTRAINT {quote(r.name)} ON {table} IS {text_literal(r.comment)}"
        for r in references
        if r.comment is not None
    ]
    return [
        *(f"ALTER SEQUENCE {name} OWNED BY {built}.{quote(column)}" for name, column in owned),
        f"DROP TABLE {table}",
        _rename(built, table),
        *(index.renamed(built, table, schema) for index in indexes),
        *numbered,
        *after,
    ]


SEQUENCES = """
SELECT a.attname, d.deptype::text, s.oid, format('%%I.%%I', n.nspname, s.relname), s.relname,
       n.nspname, q.seqincrement > 0
FROM pg_depend d
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_namespace n ON n.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.refobjid = %s AND d.deptype IN ('a', 'i') ORDER BY a.attnum
"""


def _sequences(
    connection: Connection, old: int, new: int, schema: str
) -> tuple[list[tuple[str, str]], list[str]]:
    """Sequences that go over as they are, and statements for those that every table has its own of.

    A sequence goes on behind whatever either has given: the old one to rows that are gone now.
    """
    rows = connection.execute(SEQUENCES.encode(), (old,)).fetchall()
    own = {
        row[0]: row
        for row in connection.execute(SEQUENCES.encode(), (new,)).fetchall()
        if row[1] == "i"
    }
    owned = [(str(row[3]), str(row[0])) for row in rows if row[1] == "a"]
    statements: list[str] = []
    for column, kind, oid, label, name, _, rising in rows:
        if kind != "i":
            continue
        _, _, made, made_label, _, _, _ = own[column]
        last, called = one(connection, f"SELECT last_value, is_called FROM {label}")
        reached, drawn = one(connection, f"SELECT last_value, is_called FROM {made_label}")
        ahead = max if rising else min
        value, was_called = ahead(((last, called), (reached, drawn)), key=_position(rising=rising))
        statements += [
            f"SELECT setval({made}::oid::regclass, {value}, {str(was_called).lower()})",
            f"ALTER SEQUENCE {made_label} RENAME TO {quote(name)}",
        ]
        renamed = f"{quote(schema)}.{quote(name)}"
        statements += carried.grants(connection, oid, made, renamed, "SEQUENCE")
    return owned, statements


def _position(*, rising: bool) -> Any:
    def position(state: tuple[int, bool]) -> tuple[int, bool]:
        value, called = state
        return (value, called if rising else not called)

    return position


# A snapshot that is older than the last row would show a part of the new table, or nothing. Of a
# session of another role nobody is told without pg_read_all_stats whether it has one.
OLD_SNAPSHOTS = """
SELECT l.virtualtransaction, a.pid, a.application_name
FROM pg_stat_activity a
JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'virtualxid'
  AND l.virtualxid = l.virtualtransaction
JOIN pg_description d ON d.objoid = to_regclass(%s) AND d.classoid = 'pg_class'::regclass
  AND d.objsubid = 0
WHERE a.datname = current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
  AND (age(a.backend_xmin) >= age(d.xmin)
       OR NOT pg_has_role(a.usesysid, 'USAGE') AND NOT pg_has_role('pg_read_all_stats', 'USAGE'))
ORDER BY a.pid
"""


def _await_old_snapshots(
    connection: Connection, new: Replacement, give_up: float, patience: timedelta
) -> None:
    """Until no transaction is left that may have begun before the table was filled."""
    query, table = OLD_SNAPSHOTS.encode(), (new.built.table,)
    old = connection.execute(query, table).fetchall()
    while True:
        there = set(connection.execute(query, table).fetchall())
        # Who came later sees all of it.
        old = [session for session in old if session in there]
        if not old:
            return
        if time.monotonic() >= give_up:
            listed = ", ".join(f"{pid} ({name or 'no name'})" for _, pid, name in old[:5])
            raise Contended(
                f"{new.target.label}: who has read anything before the new table was filled, in a "
                f"transaction that is still open, would find it half filled: {listed}; not ended "
                f"within {format_duration(patience)} (timeouts.lock). End them, wait, or GRANT "
                "pg_read_all_stats TO <role>, which tells the swap who has read and who has not"
            )
        time.sleep(random.uniform(0, BETWEEN))  # noqa: S311 - no secret


def _denied(connection: Connection, new: Replacement, patience: timedelta) -> str:
    return (
        f"{new.target.label}: the lock that a swap takes for a moment was not to be had within "
        f"{format_duration(patience)} (timeouts.lock): {_holders(connection, new.target.table)}. "
        "It is waited for a second at a time, so that nobody waits behind it for long"
    )


def _holders(connection: Connection, table: str) -> str:
    rows = connection.execute(
        "SELECT DISTINCT l.pid, a.application_name FROM pg_locks l "
        "LEFT JOIN pg_stat_activity a USING (pid) "
        "WHERE l.relation = to_regclass(%s) AND l.granted AND l.pid <> pg_backend_pid() "
        "ORDER BY 1 LIMIT 5",
        (table,),
    ).fetchall()
    listed = ", ".join(f"{pid} ({name or 'no name'})" for pid, name in rows)
    return f"held by session {listed}" if listed else "who held it has let go since"


def _there(connection: Connection, table: str) -> bool:
    return bool(one(connection, "SELECT to_regclass(%s) IS NOT NULL", (table,))[0])


def _create(connection: Connection, index: carried.Index, built: str) -> None:
    place = text_literal(index.tablespace)
    _run(connection, [f"SET LOCAL default_tablespace = {place}", index.statement(built)])


def _settle(connection: Connection) -> None:
    """For this transaction: names are printed in full, and an index takes as long as it does."""
    _run(
        connection,
        [f"SET LOCAL {setting}" for setting in SETTINGS],
    )


def _rename(table: str, to: str) -> str:
    """Within their schema."""
    return f"ALTER TABLE {table} RENAME TO {quote(split_name(to)[1])}"


def _run(connection: Connection, statements: list[str]) -> None:
    for statement in statements:
        connection.execute(statement.encode())
