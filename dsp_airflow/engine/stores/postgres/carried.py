"""What a table has beyond its columns, as the statements that give it to another one.

Names of schemas stand in all of them: the search path has to be empty when they are asked for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.stores.postgres.names import quote, text_literal
from dsp_airflow.engine.stores.postgres.query import Connection, one

INDEXES = """
SELECT c.relname,
       format('CREATE %%sINDEX %%I ON %%I.%%I USING ', CASE WHEN i.indisunique THEN 'UNIQUE ' END,
              c.relname, n.nspname, o.relname),
       pg_get_indexdef(i.indexrelid), pg_get_constraintdef(r.oid),
       i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL,
       ARRAY(SELECT a.attname::text FROM generate_series(0, i.indnkeyatts - 1) AS place
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[place]),
       coalesce(s.spcname, ''), i.indisprimary, i.indisclustered, i.indisreplident,
       obj_description(i.indexrelid, 'pg_class'), obj_description(r.oid, 'pg_constraint'),
       ARRAY(SELECT format('%%s SET STATISTICS %%s', attnum, attstattarget) FROM pg_attribute
             WHERE attrelid = i.indexrelid AND attstattarget >= 0)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class o ON o.oid = i.indrelid JOIN pg_namespace n ON n.oid = o.relnamespace
LEFT JOIN pg_constraint r
  ON r.conindid = c.oid AND r.conrelid = i.indrelid AND r.contype IN ('p', 'u', 'x')
LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
WHERE i.indrelid = %s::regclass AND i.indisvalid
ORDER BY i.indisprimary DESC, c.relname
"""


@dataclass(frozen=True, slots=True)
class Index:
    """An index, or the constraint that it stands for. ``name`` is the one that it has."""

    name: str
    definition: str
    """What follows USING, or the constraint's own definition."""
    constraint: bool
    unique: bool
    keeps: frozenset[str]
    """The columns whose values it keeps apart at once; nothing where it does not."""
    tablespace: str
    after: tuple[str, ...]
    """Statements for when it has its name again; ``{table}`` and ``{index}`` stand in them."""

    def name_on(self, table: str) -> str:
        """What it is called while the table is built: a schema has every name once."""
        return f"dsp_{hashlib.sha256(f'{table} {self.name}'.encode()).hexdigest()[:24]}"

    def statement(self, table: str) -> str:
        """Creates it on a table that is being built (quoted SQL)."""
        name = quote(self.name_on(table))
        if self.constraint:
            return f"ALTER TABLE {table} ADD CONSTRAINT {name} {self.definition}"
        unique = "UNIQUE " if self.unique else ""
        return f"CREATE {unique}INDEX {name} ON {table} USING {self.definition}"

    def renamed(self, built: str, table: str, schema: str) -> str:
        """Gives it its own name, on the table that has its place now."""
        before, name = quote(self.name_on(built)), quote(self.name)
        if self.constraint:
            return f"ALTER TABLE {table} RENAME CONSTRAINT {before} TO {name}"
        return f"ALTER INDEX {quote(schema)}.{before} RENAME TO {name}"


def indexes(connection: Connection, table: str) -> list[Index]:
    """All valid ones; the primary key first."""
    return [_index(row) for row in connection.execute(INDEXES.encode(), (table,)).fetchall()]


def _index(row: tuple[Any, ...]) -> Index:
    name, head, text, constraint, plain, columns, tablespace = row[:7]
    _, clustered, identity, comment, said, statistics = row[7:]
    if not text.startswith(head):
        raise Refused(f"index {name} is defined in words that are not known here: {text}")
    after = [f"ALTER INDEX {{index}} ALTER COLUMN {one}" for one in statistics]
    if clustered:
        after.append(f"ALTER TABLE {{table}} CLUSTER ON {quote(name)}")
    if identity:
        after.append(f"ALTER TABLE {{table}} REPLICA IDENTITY USING INDEX {quote(name)}")
    if comment is not None:
        after.append(f"COMMENT ON INDEX {{index}} IS {text_literal(comment)}")
    if said is not None:
        after.append(f"COMMENT ON CONSTRAINT {quote(name)} ON {{table}} IS {text_literal(said)}")
    return Index(
        name=name,
        definition=text.removeprefix(head) if constraint is None else constraint,
        constraint=constraint is not None,
        unique="UNIQUE" in head.split(),
        keeps=frozenset(columns) if plain else frozenset(),
        tablespace=tablespace,
        after=tuple(after),
    )


REFERENCES = """
SELECT r.conname, pg_get_constraintdef(r.oid), r.convalidated,
       format('REFERENCES %%I.%%I(', n.nspname, c.relname), obj_description(r.oid, 'pg_constraint')
FROM pg_constraint r JOIN pg_class c ON c.oid = r.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.conrelid = %s::regclass AND r.contype = 'f' ORDER BY r.conname
"""


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key of the table."""

    name: str
    definition: str
    valid: bool
    itself: str
    """How a reference to the table itself is written."""
    comment: str | None

    def statements(self, table: str) -> list[str]:
        """Adds it to a table that is being built; those that the other table refers to may write.

        Without being looked at first: that takes longer, and needs a lesser lock.
        """
        text = self.definition.replace(self.itself, f"REFERENCES {table}(")
        text = text.removesuffix(" NOT VALID")
        name = quote(self.name)
        made = [
            (
                f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}, "
                f"ADD CONSTRAINT {name} {text} NOT VALID"
            )
        ]
        if self.valid:
            made.append(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
        return made


def references(connection: Connection, table: str) -> list[Reference]:
    """The table's own foreign keys."""
    return [Reference(*row) for row in connection.execute(REFERENCES.encode(), (table,)).fetchall()]


# Owner, options and place: what a table is created with.
MAKING = """
SELECT CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END,
       coalesce((SELECT format(' USING %%I', amname) FROM pg_am WHERE oid = c.relam), ''),
       coalesce((SELECT format(' TABLESPACE %%I', spcname) FROM pg_tablespace
                 WHERE oid = c.reltablespace), ''),
       c.relowner::regrole::text,
       coalesce(c.reloptions, '{}') || coalesce(
         (SELECT array_agg('toast.' || o) FROM pg_class t, unnest(t.reloptions) AS o
          WHERE t.oid = c.reltoastrelid), '{}')
FROM pg_class c WHERE c.oid = %s::regclass
"""


def created_like(connection: Connection, table: str, built: str) -> list[str]:
    """Creates an empty table of the same columns, defaults, checks, options and owner."""
    logged, method, place, owner, options = one(connection, MAKING, (table,))
    made = [
        (
            f"CREATE {logged}TABLE {built} (LIKE {table} INCLUDING ALL EXCLUDING INDEXES "
            f"EXCLUDING STATISTICS){method}{place}"
        ),
        f"ALTER TABLE {built} OWNER TO {owner}",
    ]
    made += [f"ALTER TABLE {built} SET ({_option(option)})" for option in options]
    rows = connection.execute(COLUMN_OPTIONS.encode(), (table,)).fetchall()
    for column, target, settings in rows:
        head = f"ALTER TABLE {built} ALTER COLUMN {quote(column)}"
        if target is not None and target >= 0:
            made.append(f"{head} SET STATISTICS {target}")
        made += [f"{head} SET ({_option(setting)})" for setting in settings]
    return made


COLUMN_OPTIONS = """
SELECT attname, attstattarget, coalesce(attoptions, '{}') FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
  AND (attstattarget >= 0 OR attoptions IS NOT NULL)
"""


def _option(text: str) -> str:
    name, _, value = text.partition("=")
    return f"{name} = {text_literal(value)}"


# What LIKE is to have made alike; whoever alters the one afterwards makes them differ.
LIKENESS = """
SELECT ARRAY(SELECT concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                              pg_get_expr(d.adbin, d.adrelid), a.attgenerated, a.attidentity,
                              a.attcollation, a.attstorage)
             FROM pg_attribute a
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
    || ARRAY(SELECT conname || ' ' || replace(pg_get_constraintdef(oid), ' NOT VALID', '')
             FROM pg_constraint WHERE conrelid = c.oid AND contype = 'c' ORDER BY conname)
FROM pg_class c WHERE c.oid = %s::regclass
"""


def likeness(connection: Connection, table: str) -> list[str]:
    """Columns and checks, to be compared with another table's."""
    found: list[str] = one(connection, LIKENESS, (table,))[0]
    return found


# Statements that name the table as it is called, to be run once another one is called so.
NAMED = """
SELECT statement FROM (
  SELECT 1 AS step, tgname::text AS name, pg_get_triggerdef(oid) AS statement
  FROM pg_trigger WHERE tgrelid = %(table)s::regclass AND NOT tgisinternal
  UNION ALL
  SELECT 2, tgname, format('ALTER TABLE %%s %%s TRIGGER %%I', %(table)s::text,
    CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END,
    tgname)
  FROM pg_trigger
  WHERE tgrelid = %(table)s::regclass AND NOT tgisinternal AND tgenabled <> 'O'
  UNION ALL
  SELECT 3, tgname, format('COMMENT ON TRIGGER %%I ON %%s IS %%L', tgname, %(table)s::text,
                           obj_description(oid, 'pg_trigger'))
  FROM pg_trigger WHERE tgrelid = %(table)s::regclass AND NOT tgisinternal
    AND obj_description(oid, 'pg_trigger') IS NOT NULL
  UNION ALL
  SELECT 4, polname, format('CREATE POLICY %%I ON %%s AS %%s FOR %%s TO %%s%%s%%s', polname,
    %(table)s::text, CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
    CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
    (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE role::regrole::text END, ', ')
     FROM unnest(polroles) AS role),
    ' USING (' || pg_get_expr(polqual, polrelid) || ')',
    ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')')
  FROM pg_policy WHERE polrelid = %(table)s::regclass
  UNION ALL
  SELECT 5, polname, format('COMMENT ON POLICY %%I ON %%s IS %%L', polname, %(table)s::text,
                            obj_description(oid, 'pg_policy'))
  FROM pg_policy WHERE polrelid = %(table)s::regclass
    AND obj_description(oid, 'pg_policy') IS NOT NULL
  UNION ALL
  SELECT 6, '', format('ALTER TABLE %%s ENABLE ROW LEVEL SECURITY', %(table)s::text)
  FROM pg_class WHERE oid = %(table)s::regclass AND relrowsecurity
  UNION ALL
  SELECT 7, '', format('ALTER TABLE %%s FORCE ROW LEVEL SECURITY', %(table)s::text)
  FROM pg_class WHERE oid = %(table)s::regclass AND relforcerowsecurity
  UNION ALL
  SELECT 8, '', format('ALTER TABLE %%s REPLICA IDENTITY %%s', %(table)s::text,
                       CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
  FROM pg_class WHERE oid = %(table)s::regclass AND relreplident IN ('f', 'n')
  UNION ALL
  SELECT 9, stxname, pg_get_statisticsobjdef(oid)
  FROM pg_statistic_ext WHERE stxrelid = %(table)s::regclass
  UNION ALL
  SELECT 10, stxname, format('ALTER STATISTICS %%s SET STATISTICS %%s',
    format('%%I.%%I', n.nspname, stxname), stxstattarget)
  FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = stxnamespace
  WHERE stxrelid = %(table)s::regclass AND stxstattarget >= 0
  UNION ALL
  SELECT 11, stxname, format('COMMENT ON STATISTICS %%s IS %%L',
    format('%%I.%%I', n.nspname, stxname), obj_description(s.oid, 'pg_statistic_ext'))
  FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = stxnamespace
  WHERE stxrelid = %(table)s::regclass AND obj_description(s.oid, 'pg_statistic_ext') IS NOT NULL
  UNION ALL
  SELECT 12, '', format('COMMENT ON TABLE %%s IS %%L', %(table)s::text,
                        obj_description(%(table)s::regclass, 'pg_class'))
) AS all_of_them ORDER BY step, name
"""


def named(connection: Connection, table: str) -> list[str]:
    """Triggers, policies, row-level security, replica identity, statistics and comments."""
    rows = connection.execute(NAMED.encode(), {"table": table}).fetchall()
    return [str(row[0]) for row in rows]


RELATION_GRANTS = """
SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, g.is_grantable,
       string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type)
FROM pg_class c
CROSS JOIN LATERAL aclexplode(coalesce(
  c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) AS g
WHERE c.oid = %s::oid GROUP BY 1, 2 ORDER BY 1, 2
"""
COLUMN_GRANTS = """
SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, g.is_grantable,
       string_agg(format('%%s (%%I)', g.privilege_type, a.attname), ', ' ORDER BY a.attnum)
FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) AS g
WHERE a.attrelid = %s::oid AND NOT a.attisdropped GROUP BY 1, 2 ORDER BY 1, 2
"""


def grants(connection: Connection, oid: int, new: int, name: str, kind: str) -> list[str]:
    """Gives the new relation exactly the privileges of the old one.

    ``name`` is what the new one will be called, ``kind`` TABLE or SEQUENCE. What defaults of the
    schema gave the new one is taken away.
    """
    wanted = connection.execute(RELATION_GRANTS.encode(), (oid,)).fetchall()
    there = connection.execute(RELATION_GRANTS.encode(), (new,)).fetchall()
    statements = []
    if wanted != there:
        holders = sorted({str(grantee) for grantee, _, _ in there})
        statements = [f"REVOKE ALL ON {kind} {name} FROM {', '.join(holders)}"]
        statements += _granted(wanted, kind, name)
    if kind == "TABLE":
        statements += _granted(
            connection.execute(COLUMN_GRANTS.encode(), (oid,)).fetchall(), kind, name
        )
    return statements


def _granted(rows: list[tuple[Any, ...]], kind: str, name: str) -> list[str]:
    return [
        f"GRANT {privileges} ON {kind} {name} TO {grantee}"
        + (" WITH GRANT OPTION" if grantable else "")
        for grantee, grantable, privileges in rows
    ]
