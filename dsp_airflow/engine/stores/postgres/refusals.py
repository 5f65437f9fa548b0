"""What speaks against reading a table, writing to it, deleting from it, or trusting its copy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from dsp_airflow.engine import references as closure
from dsp_airflow.engine.model import Projection, Shape
from dsp_airflow.engine.stores.postgres import catalog, dialect, references, tree
from dsp_airflow.engine.stores.postgres.query import Connection, one

HIDDEN = (
    "row-level security hides rows of {label} from this role, and a part is no copy: ALTER ROLE "
    "<role> BYPASSRLS, or log in as the table's owner (NO FORCE ROW LEVEL SECURITY)"
)


def read_refusals(connection: Connection, table: str) -> list[str]:
    """See ``ports.Reads``."""
    found = catalog.find(connection, table)
    if found is None:
        return [f"{table} does not exist"]
    oid, schema, name, kind, *_ = found
    label = f"{schema}.{name}"
    if kind in ("r", "p") and _hidden(connection, oid):
        return [HIDDEN.format(label=label)]
    if (
        kind == "m"
        and not one(connection, "SELECT relispopulated FROM pg_class WHERE oid = %s", (oid,))[0]
    ):
        return [f"{label} holds nothing yet: REFRESH MATERIALIZED VIEW {label}"]
    return []


def _hidden(connection: Connection, oid: int) -> bool:
    return bool(one(connection, "SELECT row_security_active(%s::oid)", (oid,))[0])


def write_refusals(
    connection: Connection, what: Projection, on_conflict: str, *, create: bool
) -> list[str]:
    """See ``ports.Writes``."""
    schema = what.markers.rpartition(".")[0]
    row = one(
        connection,
        "SELECT has_schema_privilege(to_regnamespace(%s)::oid, 'CREATE'), "
        "to_regclass(%s) IS NOT NULL, "
        "has_database_privilege(current_database(), 'TEMPORARY')",
        (schema, what.markers),
    )
    may_create, has_markers, may_stage = row
    why = []
    if create and not may_create:
        why.append(
            f"{what.label} does not exist and the role may not create it: "
            f"GRANT CREATE ON SCHEMA {schema} TO <role>, or create the table"
        )
    if not create:
        why += _existing(connection, what, on_conflict)
    if not may_stage:
        why.append("the role may not stage rows: GRANT TEMPORARY ON DATABASE <database> TO <role>")
    if on_conflict != "update" and not may_create and not has_markers:
        why.append(
            f"on_conflict {on_conflict} needs the commit markers' table {what.markers}, which the "
            "role may not create; create it, or use on_conflict: update"
        )
    return why


def _existing(connection: Connection, what: Projection, on_conflict: str) -> list[str]:
    """What the table that is there says."""
    found = catalog.find(connection, what.table)
    if found is None:
        return [f"{what.label} does not exist"]
    oid = found[0]
    wanted = ["SELECT", "INSERT", *(["UPDATE"] if on_conflict == "update" else [])]
    missing = [
        p
        for p in wanted
        if one(connection, "SELECT has_table_privilege(%s::oid, %s)", (oid, p))[0] is not True
    ]
    why = []
    if missing:
        why.append(
            f"the role lacks privileges: GRANT {', '.join(missing)} ON {what.label} TO <role>"
        )
    if _hidden(connection, oid):
        why.append(HIDDEN.format(label=what.label))
    rules = _names(
        connection,
        "SELECT rulename FROM pg_rewrite WHERE ev_class = %s AND ev_type IN ('2', '3') "
        "AND ev_enabled <> 'D'",
        oid,
    )
    if rules:
        why.append(
            f"{what.label} has rules on INSERT or UPDATE ({rules}), which a bulk load passes by "
            f"and a merge does not: ALTER TABLE {what.label} DISABLE RULE ..., or drop them"
        )
    foreign = [label for _, label, kind, _ in _members(connection, oid) if kind == "f"]
    if foreign:
        why.append(
            f"{what.label} has foreign partitions ({', '.join(foreign[:3])}): their server does "
            "not take part in the commit; DETACH them, or name an ordinary partition"
        )
    return why


def adding_refusals(connection: Connection, table: Shape) -> list[str]:
    """See ``adding.AddsColumns``."""
    found = catalog.find(connection, dialect.qualified(table))
    owns = found is not None and bool(
        one(
            connection,
            "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = %s",
            (found[0],),
        )[0]
    )
    if owns:
        return []
    return ["only its owner may add columns: ALTER TABLE ... OWNER TO <role>, or add them yourself"]


def _names(connection: Connection, statement: str, oid: int) -> str:
    return ", ".join(str(r[0]) for r in connection.execute(statement.encode(), (oid,)).fetchall())


def _members(connection: Connection, oid: int) -> list[tuple[Any, ...]]:
    """oid, label, kind and persistence: of the table and everything below it."""
    return connection.execute(
        f"WITH RECURSIVE {tree.MEMBERS.format(root='%s::oid')} "
        "SELECT c.oid, n.nspname || '.' || c.relname, c.relkind::text, c.relpersistence::text "
        "FROM members JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace "
        "ORDER BY 2".encode(),
        (oid,),
    ).fetchall()


def warnings(connection: Connection) -> list[str]:
    """See ``ports.Session``."""
    superuser, fsync = one(
        connection,
        "SELECT rolsuper, current_setting('fsync') FROM pg_roles WHERE rolname = current_user",
    )
    found = []
    if superuser:
        found.append("logs in as a superuser; a job needs far less")
    if fsync == "off":
        found.append("the server runs with fsync off: a crash may lose what it committed")
    return found


# What pg_partition_tree finds is of now, even in a transaction whose snapshot is older: a
# partition that was attached since stands in it, and no lock of ours would have kept it out.
FINGERPRINT = (
    "WITH RECURSIVE "
    + tree.MEMBERS.format(root="to_regclass(%(table)s)::oid")
    + """
SELECT md5(concat_ws('|',
  (SELECT string_agg(relid::oid::text, ',' ORDER BY relid::oid)
   FROM pg_partition_tree(to_regclass(%(table)s))),
  (SELECT string_agg(concat_ws('|', c.oid, c.relkind, c.relpersistence, c.relrowsecurity,
    c.relforcerowsecurity, c.relhassubclass, pg_get_expr(c.relpartbound, c.oid),
    (SELECT string_agg(format('%%s %%s %%s %%s %%s', attname, atttypid, atttypmod, attnotnull,
                              attisdropped), ',' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),
    (SELECT string_agg(format('%%s %%s %%s', tgname, tgenabled, tgtype), ',' ORDER BY oid)
     FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal),
    (SELECT string_agg(format('%%s %%s', oid, confdeltype), ',' ORDER BY oid)
     FROM pg_constraint WHERE contype = 'f' AND confrelid = c.oid),
    (SELECT string_agg(oid::text, ',' ORDER BY oid) FROM pg_rewrite WHERE ev_class = c.oid)
   ), ';' ORDER BY c.oid)
   FROM members JOIN pg_class c USING (oid))))
FROM pg_class c WHERE c.oid = to_regclass(%(table)s)
"""
)


def fingerprint(connection: Connection, table: str) -> str:
    """See ``ports.Session``. ``table`` is quoted SQL."""
    row = connection.execute(FINGERPRINT.encode(), {"table": table}).fetchone()
    return str(row[0]) if row else "no such table"


TRIGGERS = """
SELECT DISTINCT tgname FROM pg_trigger
WHERE tgrelid = ANY (%s) AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 8 <> 0
ORDER BY tgname
"""
PURGED = ("table", "partitioned table")
UNFIT = {
    "table with inheriting tables": "its key is not kept unique over them; purge each by itself",
    "view": "purge the table that it reads",
    "materialised view": "purge the tables that it reads",
    "foreign table": "its rows cannot be locked from here; purge them on their own server",
}


def _unfit(kind: str, label: str) -> list[str]:
    return [] if kind in PURGED else [f"{label} is a {kind}: {UNFIT[kind]}"]


def purge_refusals(
    connection: Connection,
    table: str,
    accepted_triggers: Collection[str],
    beside: Collection[str] = (),
) -> list[str]:
    """See ``ports.Purges``."""
    found = catalog.find(connection, table)
    if found is None:
        return [f"{table} does not exist"]
    oid, schema, name, relkind, _, has_children = found
    label = f"{schema}.{name}"
    unfit = _unfit(tree.kind_of(relkind, has_children), label)
    if unfit:
        return unfit
    members = _members(connection, oid)
    purged = {there for other in beside if (there := references.named(connection, other))}
    look = partial(references.references, connection)
    why = closure.refusals((schema, name), look, purged)
    why += references.unseen(connection, (schema, name))
    why += _bound_by_others(connection, [m[0] for m in members], label, accepted_triggers)
    foreign = [m[1] for m in members if m[2] == "f"]
    if foreign:
        why.append(
            f"{label} has foreign partitions ({', '.join(foreign[:3])}), whose rows cannot be "
            "locked from here; DETACH them, or purge the other partitions one by one"
        )
    may_delete, may_select = one(
        connection,
        "SELECT has_table_privilege(%s::oid, 'DELETE'), has_table_privilege(%s::oid, 'SELECT')",
        (oid, oid),
    )
    if _hidden(connection, oid):
        why.append(f"row-level security hides rows of {label} from this role")
    if not (may_delete and may_select):
        why.append(f"the role lacks a privilege: GRANT SELECT, DELETE ON {label} TO <role>")
    return why


def _bound_by_others(
    connection: Connection, members: Sequence[int], label: str, accepted: Collection[str]
) -> list[str]:
    """Triggers and rules, of the table and of each partition."""
    why = []
    for (trigger,) in connection.execute(TRIGGERS, (members,)).fetchall():
        if trigger not in accepted:
            why.append(
                f"delete trigger {trigger} on {label} may write elsewhere; read it, then list it "
                "under accept_triggers"
            )
    if connection.execute(
        "SELECT 1 FROM pg_rewrite WHERE ev_class = ANY (%s) AND ev_type = '4'", (members,)
    ).fetchone():
        why.append(f"{label} has a DELETE rule, which would do something else instead")
    return why


def target_refusals(connection: Connection, table: str) -> list[str]:
    """Why a copy in this table is no ground for deleting the original."""
    found = catalog.find(connection, table)
    if found is None:
        return [f"target {table} does not exist"]
    oid, schema, name, relkind, _, has_children = found
    label = f"target {schema}.{name}"
    kind = tree.kind_of(relkind, has_children)
    if kind not in PURGED:
        return [f"{label} is a {kind}"]
    members = _members(connection, oid)
    why = []
    for _, part, part_kind, persistence in members:
        where = label if part == f"{schema}.{name}" else f"{label}: partition {part}"
        if part_kind == "f":
            why.append(f"{where} is a foreign table; its server did not take part in the commit")
        elif persistence != "p":
            state = "UNLOGGED: a crash empties it" if persistence == "u" else "temporary"
            why.append(f"{where} is {state}; ALTER TABLE ... SET LOGGED first")
    oids = [m[0] for m in members]
    if connection.execute("SELECT 1 FROM pg_rewrite WHERE ev_class = ANY (%s)", (oids,)).fetchone():
        why.append(f"{label} has rules; what was written may stand elsewhere")
    feed = connection.execute(
        "SELECT 1 FROM pg_subscription_rel WHERE srrelid = ANY (%s) "
        "OR srrelid IN (SELECT relid FROM pg_partition_ancestors(%s))",
        (oids, oid),
    ).fetchone()
    if feed:
        why.append(
            f"{label} is fed by a logical replication subscription: a delete on the source "
            "could be replicated to it"
        )
    return why
