"""What a table consists of: its partitions, the tables that inherit from it, what a view reads."""

from __future__ import annotations

from typing import Any, NamedTuple

from dsp_airflow.engine.model import Dated, Kind
from dsp_airflow.engine.stores.postgres import dialect
from dsp_airflow.engine.stores.postgres.query import Connection, one

KINDS: dict[str, Kind] = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialised view",
    "f": "foreign table",
}

MEMBERS = """members(oid) AS (
  SELECT {root} UNION SELECT inhrelid FROM members JOIN pg_inherits ON inhparent = members.oid
)"""
"""CTE (recursive): the table and everything below it. ``root`` is SQL of its oid."""

# Views are followed to what they read, tables to their parts.
USED = """{name}(oid, kind) AS (
  SELECT oid, relkind FROM pg_class WHERE oid = {root}
  UNION
  SELECT c.oid, c.relkind FROM {name}
  JOIN LATERAL (
    SELECT inhrelid AS oid FROM pg_inherits WHERE inhparent = {name}.oid
    UNION ALL
    SELECT d.refobjid FROM pg_rewrite r JOIN pg_depend d
      ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_class'::regclass
    WHERE r.ev_class = {name}.oid AND r.ev_type = '1' AND {name}.kind = 'v'
  ) AS below ON true
  JOIN pg_class c ON c.oid = below.oid
)"""
"""CTE (recursive): everything that is read when the relation is. ``root`` is SQL of its oid."""

WRAPPERS = (
    "WITH RECURSIVE "
    + USED.format(name="used", root="%s")
    + """
SELECT coalesce(bool_or(kind = 'f'), false),
       array_agg(DISTINCT w.fdwname::text) FILTER (WHERE w.fdwname <> 'postgres_fdw'),
       array_agg(DISTINCT s.srvname::text) FILTER (
         WHERE w.fdwname = 'postgres_fdw' AND NOT EXISTS (
           SELECT 1 FROM unnest(s.srvoptions) AS o WHERE o LIKE 'options=%%row_security=off%%'))
FROM used
LEFT JOIN pg_foreign_table t ON t.ftrelid = used.oid
LEFT JOIN pg_foreign_server s ON s.oid = t.ftserver
LEFT JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
"""
)


class Make(NamedTuple):
    """What kind of table it is, and what follows from that."""

    kind: Kind
    parts: int
    dated: Dated
    far: bool
    """Some of its rows come from another server, which may sort texts in its own way."""


def kind_of(relkind: str, has_children: bool) -> Kind:
    """In words."""
    if relkind == "r" and has_children:
        return "table with inheriting tables"
    return KINDS[relkind]


def make_of(connection: Connection, oid: int, relkind: str, has_children: bool) -> Make:
    """Looks at everything below it."""
    kind = kind_of(relkind, has_children)
    far = bool(one(connection, WRAPPERS, (oid,))[0])
    parts = one(
        connection,
        f"WITH RECURSIVE {MEMBERS.format(root='%s::oid')} "
        "SELECT count(*) FROM members JOIN pg_class c USING (oid) "
        "WHERE c.oid <> %s AND c.relkind <> 'p'",
        (oid, oid),
    )[0]
    dated: Dated = "rows"
    if far or kind == "view":
        # A foreign row has no version of its own, a view's row may be made of many.
        dated = "no"
    elif kind in ("partitioned table", "table with inheriting tables"):
        dated = "parts"
    return Make(kind, int(parts), dated, far)


def warnings(connection: Connection, table: str) -> list[str]:
    """What other servers, read through this relation, do not promise."""
    (oid,) = one(connection, "SELECT to_regclass(%s)::oid", (table,))
    _, wrappers, servers = one(connection, WRAPPERS, (oid,))
    found = [
        f"{wrapper} gives no snapshot: what is read through it may change in the middle of a batch"
        for wrapper in wrappers or ()
    ]
    return found + [
        f"row-level security on server {server} would leave rows out without a word: ALTER SERVER "
        f"{dialect.quote(server)} OPTIONS (ADD options '-c row_security=off')"
        for server in servers or ()
    ]


def share_rows(connection: Connection, one_oid: int, other_oid: int) -> bool:
    """Whether rows that are read through one are read through the other, too."""
    return bool(
        one(
            connection,
            f"WITH RECURSIVE {USED.format(name='a', root='%s')}, "
            f"{USED.format(name='b', root='%s')} "
            "SELECT EXISTS (SELECT 1 FROM a JOIN b USING (oid))",
            (one_oid, other_oid),
        )[0]
    )


def topmost(connection: Connection, table: str) -> str:
    """The quoted name of the partitioned table that it is a part of; its own if of none."""
    row = connection.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.oid = pg_partition_root(to_regclass(%s))",
        (table,),
    ).fetchone()
    return ".".join(map(dialect.quote, row)) if row else table


def storage(connection: Connection, table: str) -> tuple[Any, ...]:
    """Bytes, estimated rows, and whether values are kept out of line: of it and all its parts."""
    return one(
        connection,
        f"WITH RECURSIVE {MEMBERS.format(root='%s::regclass::oid')} "
        "SELECT coalesce(sum(pg_table_size(c.oid)), 0)::bigint, "
        "coalesce(sum(greatest(c.reltuples, 0)), 0)::float8, "
        "coalesce(bool_or(c.reltoastrelid <> 0 AND pg_relation_size(c.reltoastrelid) > 0), false) "
        "FROM members JOIN pg_class c USING (oid) WHERE c.relkind IN ('r', 'm')",
        (table,),
    )
