"""What speaks against reading a table, writing to it, deleting from it, or trusting its copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Final

import MySQLdb

from dsp_airflow.engine import references as closure
from dsp_airflow.engine.model import Projection, Shape
from dsp_airflow.engine.stores.mysql import probe, references, replication, translate
from dsp_airflow.engine.stores.mysql.grants import held
from dsp_airflow.engine.stores.mysql.names import quote, split_name, text_literal
from dsp_airflow.engine.stores.mysql.query import Connection, one, texts
from dsp_airflow.engine.stores.mysql.tables import (
    LOCKING,
    VIEWS,
    Facts,
    facts,
    links,
    transactional,
    triggers,
)

SAFE: Final = frozenset(["InnoDB", "ROCKSDB", "TokuDB"])
"""Engines that keep what was committed through a crash of the server."""
SMALL_PACKET: Final = 16 * 2**20
_FULL: Final = frozenset(["SUPER", "ALL PRIVILEGES"])
_ABOVE: Final = _FULL | {"CONNECTION_ADMIN", "READ_ONLY ADMIN"}
"""Privileges of those whom read_only does not bind."""
_NO_FUNCTION: Final = 1305
_HASHING: Final = (
    "the server has no MD5(), by which rows are proved: INSTALL COMPONENT "
    "'file://component_classic_hashing' as its administrator"
)
_READ: Final = "SELECT * FROM {table} LIMIT 0"
_DELETE: Final = "EXPLAIN DELETE FROM {table} WHERE FALSE"


def read_refusals(connection: Connection, table: str) -> list[str]:
    """See ``ports.Reads``. Columns that may not be read are hidden, so all must be readable."""
    found = facts(connection, table)
    if found is None:
        return [f"{table} does not exist"]
    if probe.missing(connection, found.quoted, {"SELECT": _READ}):
        why = (
            f"the login may not read every column of {found.label}, and hidden ones would not be "
            f"copied: GRANT SELECT ON {found.label} TO <login>"
        )
        return [why]
    return _unhashed(connection)


def _unhashed(connection: Connection) -> list[str]:
    """Newer servers compute the hash of a row only with a component of theirs."""
    try:
        one(connection, "SELECT MD5('')")
    except MySQLdb.Error as error:
        if translate.number(error) != _NO_FUNCTION:
            raise
        return [_HASHING]
    return []


def read_warnings(connection: Connection, table: str) -> list[str]:
    """See ``ports.Reads``."""
    found = facts(connection, table)
    if found is None or not found.engine or found.engine in transactional(connection):
        return []
    what = (
        f"{found.label} has the engine {found.engine}, which shows no consistent state: rows that "
        "change while a batch is read may be copied half changed"
    )
    return [what]


def write_refusals(
    connection: Connection, what: Projection, on_conflict: str, *, create: bool
) -> list[str]:
    """See ``ports.Writes``."""
    schema, name = split_name(what.table)
    if schema is None:
        schema = str(one(connection, "SELECT DATABASE()")[0])
    grants = held(connection, schema)
    why = _unhashed(connection) + _unwritable(connection)
    if create and not grants.on("CREATE", name):
        why.append(
            f"{what.label} does not exist and the login may not create it: "
            f"GRANT CREATE ON {what.table} TO <login>, or create the table"
        )
    if not create:
        why += _existing(connection, what, on_conflict)
    if "CREATE TEMPORARY TABLES" not in grants.schema:
        why.append(
            "the login may not stage rows: GRANT CREATE TEMPORARY TABLES ON "
            f"{quote(schema)}.* TO <login>"
        )
    may_mark = grants.on("CREATE", split_name(what.markers)[1])
    if on_conflict != "update" and not may_mark and facts(connection, what.markers) is None:
        why.append(
            f"on_conflict {on_conflict} needs the commit markers' table {what.markers}, which the "
            "login may not create; create it, or use on_conflict: update"
        )
    return why


def _unwritable(connection: Connection) -> list[str]:
    """What keeps any transaction of ours from being written."""
    why = []
    found = _variables(connection, "read_only", "super_read_only", "log_bin", "binlog_format")
    if found.get("read_only") == "1" and not _above_read_only(connection, found):
        why.append("the server is read-only (read_only = 1); name the primary")
    if found.get("log_bin") == "1" and found.get("binlog_format") == "STATEMENT":
        why.append(
            "the server logs statements (binlog_format = STATEMENT), which READ COMMITTED does not "
            "allow: SET GLOBAL binlog_format = ROW or MIXED"
        )
    return why


def _above_read_only(connection: Connection, found: Mapping[str, str]) -> bool:
    if found.get("super_read_only") == "1":
        return False
    return not held(connection, "").everywhere.isdisjoint(_ABOVE)


def _variables(connection: Connection, *names: str) -> dict[str, str]:
    """Those of these settings that the server has; ON is 1."""
    listed = ", ".join(map(text_literal, names))
    lines = texts(connection, f"SHOW VARIABLES WHERE Variable_name IN ({listed})")
    spelled = {"ON": "1", "OFF": "0"}
    return {str(name): spelled.get(str(value), str(value)) for name, value in lines}


def _existing(connection: Connection, what: Projection, on_conflict: str) -> list[str]:
    """What the table that is there says."""
    found = facts(connection, what.table)
    if found is None:
        return [f"{what.label} does not exist"]
    if found.kind in VIEWS:
        return [f"{what.label} is a view; name the table that it reads"]
    column = quote(what.fields[0].column)
    # Of a column that is generated nothing may be said.
    written = ", ".join(quote(field.column) for field in what.fields)
    wanted = {
        "SELECT": _READ,
        "INSERT": f"EXPLAIN INSERT INTO {{table}} ({written}) "
        f"SELECT {written} FROM {{table}} WHERE FALSE",
    }
    if on_conflict == "update":
        wanted["UPDATE"] = f"EXPLAIN UPDATE {{table}} SET {column} = {column} WHERE FALSE"
    why = []
    if lacking := probe.missing(connection, found.quoted, wanted):
        why.append(
            f"the login lacks privileges: GRANT {', '.join(lacking)} ON {what.label} TO <login>"
        )
    if found.engine not in transactional(connection):
        why.append(
            f"{what.label} has the engine {found.engine}, which keeps half a batch when it fails: "
            f"ALTER TABLE {what.label} ENGINE = {LOCKING}"
        )
    return why


def adding_refusals(connection: Connection, table: Shape) -> list[str]:
    """See ``adding.AddsColumns``."""
    if held(connection, table.schema).on("ALTER", table.name):
        return []
    return [f"the login may not add columns: GRANT ALTER ON {table.table} TO <login>"]


def warnings(connection: Connection) -> list[str]:
    """See ``ports.Session``."""
    found = []
    local, packet, flush = one(
        connection,
        "SELECT @@local_infile, @@max_allowed_packet, @@innodb_flush_log_at_trx_commit",
    )
    if local != "1":
        found.append("local_infile is off: rows are written by INSERT, which takes longer")
    if int(str(packet)) < SMALL_PACKET:
        found.append(
            f"max_allowed_packet is {int(str(packet)):,} bytes: a row whose text is larger cannot "
            "be read or proved; raise it on the server"
        )
    if flush != "1":
        found.append(
            f"the server runs with innodb_flush_log_at_trx_commit = {flush}: a crash may lose what "
            "it committed"
        )
    if _variables(connection, "wsrep_on").get("wsrep_on") == "1":
        found.append(
            "the server is a node of a cluster, whose named locks hold on one node only; let every "
            "job name the same node"
        )
    if not held(connection, "").everywhere.isdisjoint(_FULL):
        found.append("logs in as an administrator (SUPER); a job needs far less")
    return found


def purge_refusals(
    connection: Connection,
    table: str,
    accepted_triggers: Collection[str],
    beside: Collection[str] = (),
) -> list[str]:
    """See ``ports.Purges``."""
    found = facts(connection, table)
    if found is None:
        return [f"{table} does not exist"]
    if found.kind in VIEWS:
        return [f"{found.label} is a view: purge the table that it reads"]
    why = _unwritable(connection)
    if found.engine != LOCKING:
        why.append(
            f"{found.label} has the engine {found.engine or 'none'}, whose rows cannot be locked "
            f"and brought back: ALTER TABLE {found.label} ENGINE = {LOCKING}"
        )
    lacking = probe.missing(connection, found.quoted, {"SELECT": _READ, "DELETE": _DELETE})
    if not held(connection, found.schema).on("TRIGGER", found.name):
        # Without it the catalog shows none.
        lacking.append("TRIGGER")
    if lacking:
        why.append(
            f"the login lacks a privilege: GRANT {', '.join(lacking)} ON {found.label} TO <login>"
            + (" (TRIGGER shows what else a deletion does)" if "TRIGGER" in lacking else "")
        )
    why += _referred(connection, found, beside)
    return why + _triggered(connection, found, accepted_triggers)


def _referred(connection: Connection, table: Facts, beside: Collection[str]) -> list[str]:
    """References from other tables."""
    known, complete = links(connection, table)
    why = []
    if not complete:
        why.append(
            f"whether other tables reference {table.label} is hidden from this login: GRANT "
            "PROCESS ON *.* TO <login>"
        )
    purged = {name for other in beside if (name := references.named(connection, other))}
    look = partial(references.references, connection)
    why += closure.refusals((table.schema, table.name), look, purged)
    for child in dict.fromkeys(link.child for link in known):
        label, quoted = ".".join(child), ".".join(map(quote, child))
        if probe.missing(connection, quoted, {"SELECT": _READ}):
            why.append(
                f"whether rows of {label} refer to one of {table.label} is hidden from this "
                f"login: GRANT SELECT ON {label} TO <login>"
            )
    return why


def _triggered(connection: Connection, table: Facts, accepted: Collection[str]) -> list[str]:
    why = []
    known, _ = links(connection, table)
    unchecked = any(references.is_unchecked(link, table) for link in known)
    for trigger, event in triggers(connection, table):
        if event != "DELETE":
            continue
        if trigger not in accepted:
            why.append(
                f"delete trigger {trigger} on {table.label} may write elsewhere; read it, then "
                "list it under accept_triggers"
            )
        elif unchecked:
            why.append(
                f"delete trigger {trigger} on {table.label} would write without checks of foreign "
                "keys, which are off while rows are deleted to which keys with ON DELETE actions, "
                "or of the table itself, refer; drop it while the job runs"
            )
    return why


def target_refusals(connection: Connection, table: str) -> list[str]:
    """Why a copy in this table is no ground for deleting the original."""
    found = facts(connection, table)
    if found is None:
        return [f"target {table} does not exist"]
    label = f"target {found.label}"
    if found.kind in VIEWS:
        return [f"{label} is a view"]
    why = []
    if found.engine not in SAFE:
        why.append(
            f"{label} has the engine {found.engine or 'none'}, which may lose what was written: "
            f"ALTER TABLE {found.label} ENGINE = {LOCKING}"
        )
    return why + [
        f"{label} stands on a replica of {upstream}: a delete on the source could be replicated "
        "to it; name a server that replicates nothing, or set replicate_ignore_db there"
        for upstream in _upstreams(connection, found.schema)
    ]


def _upstreams(connection: Connection, schema: str) -> list[str]:
    """The servers whose changes of this schema are made here too, as far as one may know."""
    try:
        found = replication.channels(connection)
    except MySQLdb.Error as error:
        if translate.number(error) not in probe.DENIED:
            raise
        return []
    return [
        replication.host(channel)
        for channel in found
        if schema not in (channel.get("Replicate_Ignore_DB") or "").split(",")
    ]
