"""A table built beside another one, and renamed over it by one statement.

A RENAME of two tables is done or not done, through crashes, too. It commits by itself, so nothing
can be written down together with it: that the old table has its other name tells that it happened.
"""

from __future__ import annotations

import random
import re
import time
from datetime import timedelta
from typing import Final

import MySQLdb

from dsp_airflow.config.scalars import format_duration
from dsp_airflow.engine.errors import Contended, Denied, Refused
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.mysql import markers, translate
from dsp_airflow.engine.stores.mysql.grants import held
from dsp_airflow.engine.stores.mysql.login import is_mariadb
from dsp_airflow.engine.stores.mysql.names import split_name, text_literal
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, quoted, rows, texts
from dsp_airflow.engine.stores.mysql.tables import LOCKING, Facts, facts, links, triggers
from dsp_airflow.engine.stores.mysql.transactions import held as queued
from dsp_airflow.engine.swap import Replacement, gone

TURN: Final = timedelta(seconds=1)
"""How long one wait for the lock may be: whoever comes after us waits behind us."""
BETWEEN: Final = 0.5
"""Seconds at most until the next one."""
PRIVILEGES: Final = ("SELECT", "INSERT", "CREATE", "ALTER", "DROP", "TRIGGER")
"""On the schema: the names of what is built are not known before. The last one shows triggers."""
_COUNTER: Final = re.compile(r" AUTO_INCREMENT=(\d+)")
_CHECK: Final = re.compile(r"CONSTRAINT `(?:[^`]|``)+` CHECK")
_MISSING, _EXISTS = 1146, 1050


class MySqlSwaps:
    """See ``swap.Swaps``. Driver errors are not translated yet."""

    def __init__(self, connection: Connection, patience: timedelta) -> None:
        self.connection = connection
        self.patience = patience

    def refusals(self, what: Projection, *, create: bool) -> list[str]:
        """See ``swap.Swaps``. Views name a table, and show whichever is called so."""
        schema = str(split_name(what.table)[0])
        grants = held(self.connection, schema)
        why = []
        lacking = [name for name in PRIVILEGES if name not in grants.schema]
        if lacking:
            why.append(
                f"the login may not build a table beside {what.label}: GRANT {', '.join(lacking)} "
                f"ON {schema}.* TO <login>"
            )
        found = None if create else facts(self.connection, what.table)
        return why if found is None else why + self._bound(found)

    def _bound(self, table: Facts) -> list[str]:
        why = []
        if table.engine != LOCKING or table.kind != "BASE TABLE":
            what = f"a {table.kind.lower()}" if table.kind != "BASE TABLE" else table.engine
            why.append(
                f"{table.label} is {what}: only an ordinary table of {LOCKING} can be replaced; "
                "use mode: full"
            )
        if named := [name for name, _ in triggers(self.connection, table)]:
            why.append(
                f"{table.label} has triggers ({', '.join(named)}), which would go with the old "
                "table; drop them, or use mode: full"
            )
        known, complete = links(self.connection, table)
        if known:
            listed = ", ".join(f"{'.'.join(one.child)} ({one.constraint})" for one in known)
            why.append(
                f"{listed} reference {table.label} and would not follow to the table that takes "
                "its place; drop the foreign keys, or use mode: full"
            )
        if not complete:
            why.append(
                f"whether other tables reference {table.label} is hidden from this login: GRANT "
                "PROCESS ON *.* TO <login>"
            )
        if own := _foreign_keys(self.connection, table):
            why.append(
                f"{table.label} has foreign keys ({', '.join(own)}), whose names a schema has only "
                "once; drop them, or use mode: full"
            )
        if "DATA DIRECTORY" in _definition(self.connection, table.quoted):
            why.append(
                f"{table.label} has a DATA DIRECTORY, which no table made like it would have; use "
                "mode: full"
            )
        return why

    def warnings(self, what: Projection) -> list[str]:  # noqa: ARG002
        """See ``swap.Swaps``."""
        return []

    def beside(self, what: Projection) -> list[str]:
        """See ``swap.Swaps``."""
        schema = text_literal(str(split_name(what.table)[0]))
        found = texts(
            self.connection,
            f"SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} "
            "AND TABLE_TYPE = 'BASE TABLE' AND TABLE_NAME LIKE 'dsp\\_%' ORDER BY TABLE_NAME",
        )
        return [str(name) for (name,) in found]

    def build(self, new: Replacement, *, begun: bool) -> None:
        """See ``swap.Swaps``."""
        table, built = new.target.table, new.built.table
        if not markers.prepare(self.connection, new.built):
            raise Denied(
                f"{new.target.label}: that a table is filled is marked in {new.built.markers}, "
                "which the login may not create or write; GRANT CREATE, INSERT, SELECT, DELETE"
            )
        with queued(self.connection, "creating", built, new.built.label):
            if _there(self.connection, built):
                return
            if begun:
                raise Refused(gone(new))
            if new.create:
                for statement in new.ddl:
                    execute(self.connection, statement.replace(table, built, 1))
            else:
                execute(self.connection, f"CREATE TABLE {built} LIKE {table}")

    def complete(self, new: Replacement) -> None:
        """See ``swap.Swaps``.

        The table is written anew once. To a snapshot from before that the server then says that
        the definition has changed (1412), where it would have shown it the rows that it knew.
        """
        table, built = new.target.table, new.built.table
        if not _there(self.connection, built):
            raise Refused(gone(new))
        if new.create:
            # Renamed together with the new table, it tells later that this has happened.
            execute(self.connection, f"CREATE TABLE IF NOT EXISTS {_stand_in(new)} (none INT)")
        elif counted := _COUNTER.search(_definition(self.connection, table)):
            execute(self.connection, f"ALTER TABLE {built} AUTO_INCREMENT = {counted[1]}")
        if not self._marked(new):
            if is_mariadb(self.connection):
                # There it would end what takes long by nature, too.
                execute(self.connection, "SET SESSION max_statement_time = 0")
            execute(self.connection, f"ALTER TABLE {built} FORCE")
            rows(self.connection, f"ANALYZE TABLE {built}")
            run, job, batch = new.marker
            execute(
                self.connection,
                f"INSERT INTO {new.built.markers} (run, job, batch, outcome) VALUES "
                f"({quoted(self.connection, run)}, {quoted(self.connection, job)}, {batch}, "
                "'filled')",
            )

    def _marked(self, new: Replacement) -> bool:
        run, job, batch = new.marker
        found = rows(
            self.connection,
            f"SELECT 1 FROM {new.built.markers} WHERE run = {quoted(self.connection, run)} "
            f"AND job = {quoted(self.connection, job)} AND batch = {batch}",
        )
        return bool(found)

    def swap(self, new: Replacement) -> None:
        """See ``swap.Swaps``."""
        give_up = time.monotonic() + self.patience.total_seconds()
        execute(self.connection, f"SET SESSION lock_wait_timeout = {TURN // timedelta(seconds=1)}")
        while True:
            self._require_alike(new)
            try:
                execute(
                    self.connection,
                    f"RENAME TABLE {_stand_in(new) if new.create else new.target.table} "
                    f"TO {new.old}, {new.built.table} TO {new.target.table}",
                )
            except MySQLdb.Error as error:
                if translate.number(error) == _EXISTS and new.create:
                    raise Refused(
                        f"{new.target.label} came to be since the run was planned; start a new run"
                    ) from error
                if translate.number(error) not in translate.LOCKED:
                    raise
                if time.monotonic() >= give_up:
                    raise Contended(
                        f"{new.target.label}: the lock that a swap takes for a moment was not to "
                        f"be had within {format_duration(self.patience)} (timeouts.lock): a "
                        "transaction that has read the table is still open; SHOW PROCESSLIST shows "
                        "whose. It is waited for a second at a time, so that nobody waits behind "
                        "it for long"
                    ) from error
                time.sleep(random.uniform(0, BETWEEN))  # noqa: S311 - no secret
            else:
                return

    def _require_alike(self, new: Replacement) -> None:
        """As near to the swap as may be: what comes after that is seen before the drop."""
        if new.create:
            return
        found = facts(self.connection, new.target.table)
        why = self._bound(found) if found is not None else []
        if why:
            raise Refused(f"{'; '.join(why)}. The table is as it was")
        definitions = (
            _likeness(_definition(self.connection, table))
            for table in (new.target.table, new.built.table)
        )
        if len(set(definitions)) > 1:
            raise Refused(
                f"{new.target.label} was altered since the new table was built like it; it is as "
                "it was. Start a new run"
            )

    def swapped(self, new: Replacement) -> bool:
        """See ``swap.Swaps``."""
        return _there(self.connection, new.old) and not _there(self.connection, new.built.table)

    def tidy(self, new: Replacement) -> None:
        """See ``swap.Swaps``. A trigger that came in the last moment is not dropped unseen."""
        old = facts(self.connection, new.old)
        if old is not None and (named := triggers(self.connection, old)):
            raise Refused(
                f"{new.target.label} is replaced, but its triggers "
                f"({', '.join(name for name, _ in named)}) went with the old table, {old.label}; "
                "make them anew and drop that table"
            )
        self.discard(new.old)
        if markers.prepare(self.connection, new.built):
            markers.forget(self.connection, new.built, new.run, new.job)

    def discard(self, table: str) -> None:
        """See ``swap.Swaps``."""
        execute(self.connection, f"DROP TABLE IF EXISTS {table}")


def _foreign_keys(connection: Connection, table: Facts) -> list[str]:
    found = texts(
        connection,
        "SELECT CONSTRAINT_NAME FROM information_schema.TABLE_CONSTRAINTS "
        f"WHERE TABLE_SCHEMA = {text_literal(table.schema)} "
        f"AND TABLE_NAME = {text_literal(table.name)} AND CONSTRAINT_TYPE = 'FOREIGN KEY' "
        "ORDER BY CONSTRAINT_NAME",
    )
    return [str(name) for (name,) in found]


def _definition(connection: Connection, table: str) -> str:
    return str(one(connection, f"SHOW CREATE TABLE {table}")[1])


def _likeness(definition: str) -> str:
    """Without the table's name, its counter, and the names that a schema has only once."""
    body = definition[definition.index("(") :]
    return _CHECK.sub("CHECK", _COUNTER.sub("", body, count=1))


def _stand_in(new: Replacement) -> str:
    """What is renamed in place of an old table, where there is none."""
    return new.old.replace("dsp_old_", "dsp_new_")


def _there(connection: Connection, table: str) -> bool:
    return facts(connection, table) is not None
