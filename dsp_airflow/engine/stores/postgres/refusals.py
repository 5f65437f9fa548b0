"""What speaks against writing to a table, deleting from it, or trusting it with a copy."""

from __future__ import annotations

from collections.abc import Collection

from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.postgres import catalog
from dsp_airflow.engine.stores.postgres.query import Connection, one


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
        wanted = ["SELECT", "INSERT", *(["UPDATE"] if on_conflict == "update" else [])]
        missing = [
            p
            for p in wanted
            if connection.execute(
                "SELECT has_table_privilege(to_regclass(%s)::oid, %s)", (what.table, p)
            ).fetchone()
            != (True,)
        ]
        if missing:
            why.append(
                f"the role lacks privileges: GRANT {', '.join(missing)} ON {what.label} TO <role>"
            )
    if not may_stage:
        why.append("the role may not stage rows: GRANT TEMPORARY ON DATABASE <database> TO <role>")
    if on_conflict != "update" and not may_create and not has_markers:
        why.append(
            f"on_conflict {on_conflict} needs the commit markers' table {what.markers}, which the "
            "role may not create; create it, or use on_conflict: update"
        )
    return why


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


FINGERPRINT = """
SELECT md5(concat_ws('|', c.relkind, c.relpersistence, c.relrowsecurity, c.relhassubclass,
  (SELECT string_agg(format('%%s %%s %%s %%s %%s', attname, atttypid, atttypmod, attnotnull,
                            attisdropped), ',' ORDER BY attnum)
   FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),
  (SELECT string_agg(format('%%s %%s %%s', tgname, tgenabled, tgtype), ',' ORDER BY oid)
   FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal),
  (SELECT string_agg(format('%%s %%s', oid, confdeltype), ',' ORDER BY oid)
   FROM pg_constraint WHERE contype = 'f' AND confrelid = c.oid),
  (SELECT string_agg(oid::text, ',' ORDER BY oid) FROM pg_rewrite WHERE ev_class = c.oid)))
FROM pg_class c WHERE c.oid = to_regclass(%s)
"""


def fingerprint(connection: Connection, table: str) -> str:
    """See ``ports.Session``. ``table`` is quoted SQL."""
    row = connection.execute(FINGERPRINT, (table,)).fetchone()
    return str(row[0]) if row else "no such table"


REFERENCES = """
SELECT conrelid::regclass::text, conname, confdeltype::text FROM pg_constraint
WHERE contype = 'f' AND confrelid = %s AND conrelid <> 0
"""
TRIGGERS = """
SELECT tgname FROM pg_trigger
WHERE tgrelid = %s AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 8 <> 0
ORDER BY tgname
"""
CASCADES = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def purge_refusals(
    connection: Connection, table: str, accepted_triggers: Collection[str]
) -> list[str]:
    """Why no row of this table may be deleted."""
    found = catalog.find(connection, table)
    if found is None:
        return [f"{table} does not exist"]
    oid, schema, name, kind, _, has_children = found
    label = f"{schema}.{name}"
    if kind != "r" or has_children:
        return [f"{label} is {catalog.KINDS.get(kind, 'a table with inheriting tables')}"]
    why = []
    for child, constraint, action in connection.execute(REFERENCES, (oid,)).fetchall():
        if action in CASCADES:
            why.append(
                f"{child} references {label} with ON DELETE {CASCADES[action]} ({constraint}): "
                "deleting would change rows there that were not copied"
            )
    for (trigger,) in connection.execute(TRIGGERS, (oid,)).fetchall():
        if trigger not in accepted_triggers:
            why.append(
                f"delete trigger {trigger} on {label} may write elsewhere; read it, then list it "
                "under accept_triggers"
            )
    row = one(
        connection,
        "SELECT row_security_active(%s::oid), has_table_privilege(%s::oid, 'DELETE'), "
        "has_table_privilege(%s::oid, 'SELECT'), "
        "EXISTS (SELECT 1 FROM pg_rewrite WHERE ev_class = %s AND ev_type = '4')",
        (oid, oid, oid, oid),
    )
    security, may_delete, may_select, rules = row
    if security:
        why.append(f"row-level security hides rows of {label} from this role")
    if not (may_delete and may_select):
        why.append(f"the role lacks a privilege: GRANT SELECT, DELETE ON {label} TO <role>")
    if rules:
        why.append(f"{label} has a DELETE rule, which would do something else instead")
    return why


def target_refusals(connection: Connection, table: str) -> list[str]:
    """Why a copy in this table is no ground for deleting the original."""
    found = catalog.find(connection, table)
    if found is None:
        return [f"target {table} does not exist"]
    oid, schema, name, kind, persistence, has_children = found
    label = f"target {schema}.{name}"
    if kind != "r" or has_children:
        return [f"{label} is {catalog.KINDS.get(kind, 'a table with inheriting tables')}"]
    why = []
    if persistence != "p":
        state = "UNLOGGED: a crash empties it" if persistence == "u" else "temporary"
        why.append(f"{label} is {state}; ALTER TABLE ... SET LOGGED first")
    if connection.execute("SELECT 1 FROM pg_rewrite WHERE ev_class = %s", (oid,)).fetchone():
        why.append(f"{label} has rules; what was written may stand elsewhere")
    feed = connection.execute(
        "SELECT 1 FROM pg_subscription_rel WHERE srrelid = %s "
        "OR srrelid IN (SELECT relid FROM pg_partition_ancestors(%s))",
        (oid, oid),
    ).fetchone()
    if feed:
        why.append(
            f"{label} is fed by a logical replication subscription: a delete on the source "
            "could be replicated to it"
        )
    return why
