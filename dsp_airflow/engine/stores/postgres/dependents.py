"""What depends on a table itself, not on its name, and so would not follow to another one."""

from __future__ import annotations

from typing import Any

from dsp_airflow.engine.stores.postgres import catalog
from dsp_airflow.engine.stores.postgres.query import Connection, one

# What belongs to the table is made again with it. A view depends by its rule.
DEPENDENTS = """
SELECT DISTINCT CASE
         WHEN d.classid = 'pg_rewrite'::regclass THEN (
           SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0)
           FROM pg_rewrite r WHERE r.oid = d.objid)
         ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END
FROM pg_class c JOIN pg_type t ON t.oid = c.reltype
JOIN pg_depend d
  ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
  OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)
WHERE c.oid = %(oid)s AND d.deptype = 'n' AND CASE d.classid
  WHEN 'pg_attrdef'::regclass THEN
    NOT EXISTS (SELECT 1 FROM pg_attrdef x WHERE x.oid = d.objid AND x.adrelid = c.oid)
  WHEN 'pg_constraint'::regclass THEN
    NOT EXISTS (SELECT 1 FROM pg_constraint x WHERE x.oid = d.objid AND x.conrelid = c.oid)
  WHEN 'pg_trigger'::regclass THEN
    NOT EXISTS (SELECT 1 FROM pg_trigger x WHERE x.oid = d.objid AND x.tgrelid = c.oid)
  WHEN 'pg_policy'::regclass THEN
    NOT EXISTS (SELECT 1 FROM pg_policy x WHERE x.oid = d.objid AND x.polrelid = c.oid)
  WHEN 'pg_rewrite'::regclass THEN
    NOT EXISTS (SELECT 1 FROM pg_rewrite x WHERE x.oid = d.objid AND x.ev_class = c.oid)
  WHEN 'pg_statistic_ext'::regclass THEN
    NOT EXISTS (SELECT 1 FROM pg_statistic_ext x WHERE x.oid = d.objid AND x.stxrelid = c.oid)
  WHEN 'pg_class'::regclass THEN
    NOT EXISTS (SELECT 1 FROM pg_index x WHERE x.indexrelid = d.objid AND x.indrelid = c.oid)
  ELSE true END
ORDER BY 1
"""

MAKE = """
SELECT c.relkind::text, c.reloftype <> 0,
       EXISTS (SELECT 1 FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)),
       ARRAY(SELECT rulename::text FROM pg_rewrite WHERE ev_class = c.oid ORDER BY 1),
       ARRAY(SELECT e.extname::text FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'),
       EXISTS (SELECT 1 FROM pg_seclabel
               WHERE classoid = 'pg_class'::regclass AND objoid = c.oid),
       EXISTS (SELECT 1 FROM pg_subscription_rel WHERE srrelid = c.oid),
       pg_has_role(c.relowner, 'USAGE'), c.relowner::regrole::text,
       c.relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
         OR has_schema_privilege(c.relowner, c.relnamespace, 'CREATE')
FROM pg_class c WHERE c.oid = %s
"""

# Of all tables, of all those of a schema, or of this one.
PUBLICATIONS = """
SELECT pubname::text FROM pg_publication WHERE puballtables
UNION SELECT pubname::text FROM pg_publication_tables
WHERE schemaname = %(schema)s AND tablename = %(name)s
"""
SCHEMA_PUBLICATIONS = """
UNION SELECT p.pubname::text FROM pg_publication_namespace n
JOIN pg_publication p ON p.oid = n.pnpubid JOIN pg_namespace s ON s.oid = n.pnnspid
WHERE s.nspname = %(schema)s
"""
WITH_SCHEMAS = 150_000
"""The version of the server from which on a publication may be of a schema."""


def refusals(connection: Connection, table: str) -> list[str]:
    """Why no other table may take its place; ``table`` is quoted SQL."""
    found = catalog.find(connection, table)
    if found is None:
        return []
    oid, schema, name, *_ = found
    label = f"{schema}.{name}"
    why = published(connection, schema, name)
    why += _unfit(one(connection, MAKE, (oid,)), label)
    bound = [
        str(row[0])
        for row in connection.execute(DEPENDENTS.encode(), {"oid": oid}).fetchall()
        if row[0] is not None
    ]
    if bound:
        more = f" and {len(bound) - 10} more" if len(bound) > 10 else ""
        why.append(
            f"{', '.join(bound[:10])}{more} depend on {label} and would not follow to the table "
            "that takes its place; drop them, or use mode: full"
        )
    return why


def _unfit(made: tuple[Any, ...], label: str) -> list[str]:
    kind, typed, inherits, rules, extensions, labelled, subscribed, owns, owner, may_own = made
    why = []
    if kind != "r" or inherits:
        why.append(f"{label} is partitioned, a partition, or inherits: {ALONE}")
    if typed:
        why.append(f"{label} is a table of a composite type: {ALONE}")
    if rules:
        why.append(f"{label} has rules ({', '.join(rules)}): {ALONE}")
    if extensions:
        why.append(f"{label} belongs to the extension {', '.join(extensions)}: {ALONE}")
    if labelled:
        why.append(f"{label} has security labels: {ALONE}")
    if subscribed:
        why.append(f"{label} is fed by a logical replication subscription: {ALONE}")
    if not owns:
        why.append(
            f"only its owner may replace {label}: GRANT {owner} TO <role>, or log in as {owner}"
        )
    elif not may_own:
        why.append(
            f"the owner of {label} may not own a new table there: GRANT CREATE ON SCHEMA "
            f"{label.partition('.')[0]} TO {owner}"
        )
    return why


ALONE = "only an ordinary table of its own can be replaced; use mode: full"


def published(connection: Connection, schema: str, name: str) -> list[str]:
    """Whether rows of a table of this name, and of one that is built beside it, are sent on."""
    query = PUBLICATIONS
    if connection.info.server_version >= WITH_SCHEMAS:
        query += SCHEMA_PUBLICATIONS
    found = connection.execute(query.encode(), {"schema": schema, "name": name}).fetchall()
    names = sorted(str(row[0]) for row in found)
    if not names:
        return []
    told = (
        f"{schema}.{name} is in the publication {', '.join(names)}: subscribers know nothing of "
        "the table that is built; leave it out of them, or use mode: full"
    )
    return [told]
