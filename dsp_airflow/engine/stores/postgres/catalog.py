"""What PostgreSQL's catalogs say of a table."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.model import Column, Shape
from dsp_airflow.engine.resolved import Resolved
from dsp_airflow.engine.stores.postgres import create, dialect, kinds, tree
from dsp_airflow.engine.stores.postgres.keys import Keys
from dsp_airflow.engine.stores.postgres.query import Connection, one

# Defaults that mean the same in any database: constants with casts, and the clock.
PORTABLE_DEFAULT = re.compile(
    r"""(?ix) ^ \(? (?: '(?:[^']|'')*' | -?\d+(?:\.\d+)? | true | false | null
        | now\(\) | current_timestamp | current_date | localtimestamp
        | clock_timestamp\(\) | gen_random_uuid\(\) | ARRAY\[\] | '\{\}' )
        \)? (?: :: [\w\s"\[\]()., ]+ )? $"""
)

LONGEST = 63
"""Bytes of a name."""

FIND = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relpersistence::text,
       EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid) AS has_children
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %(name)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND (n.nspname = %(schema)s
       OR (%(schema)s::text IS NULL AND n.nspname = ANY (current_schemas(false))))
ORDER BY array_position(current_schemas(false), n.nspname) NULLS LAST
LIMIT 1
"""

COLUMNS = """
SELECT a.attname, a.atttypid::int8, format_type(a.atttypid, a.atttypmod), a.atttypmod,
       a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attgenerated::text, a.attidentity::text,
       a.attstorage::text, a.attlen,
       CASE WHEN a.attcollation = 0 THEN NULL ELSE to_jsonb(co) END,
       CASE WHEN a.attcollation IN (0, 100) THEN NULL
            ELSE pg_collation_actual_version(a.attcollation) END
FROM pg_attribute a
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation co ON co.oid = a.attcollation
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

TEXT, UNKNOWN = 25, 705
"""Numbers of two built-in types."""


def _collation(row: dict[str, Any] | None, version: str | None, database: str) -> str | None:
    """One text per sort order: provider, locale and its version."""
    if row is None:
        return None
    if row["collprovider"] == "d":
        return database
    locale = row.get("collcollate") or row.get("colllocale") or row.get("colliculocale")
    if locale in ("C", "POSIX"):
        return "C"
    return f"{row['collprovider']}:{locale}:{version}"


def _database_collation(connection: Connection) -> str:
    row = one(
        connection, "SELECT to_jsonb(d) FROM pg_database d WHERE d.datname = current_database()"
    )
    info: dict[str, Any] = row[0]
    locale = info.get("datlocale") or info.get("daticulocale") or info["datcollate"]
    if locale in ("C", "POSIX"):
        return "C"
    return f"{info.get('datlocprovider', 'c')}:{locale}:{info.get('datcollversion')}"


GENERATIONS = """
SELECT a.attname, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attgenerated <> ''
"""


def find(connection: Connection, table: str) -> tuple[Any, ...] | None:
    """oid, schema, name, kind, persistence, has children; ``None`` when there is no such table."""
    schema, name = dialect.split_name(table)
    return connection.execute(FIND, {"schema": schema, "name": name}).fetchone()


def resolved(connection: Connection, table: str) -> Resolved:
    """See ``resolved.Resolves``."""
    schema, name = dialect.split_name(table)
    if schema is not None:
        return Resolved(schema, name)
    (path,) = one(connection, "SELECT current_schemas(false)::text[]")
    found = find(connection, table)
    if found is None and not path:
        raise ConfigError(f"table {table!r} needs a schema: the search path is empty")
    return Resolved(path[0] if found is None else found[1], name, alone=len(path) == 1)


def share_rows(connection: Connection, table: str, other: str) -> bool:
    """See ``ports.Reads``."""
    ours, theirs = find(connection, table), find(connection, other)
    if ours is None or theirs is None:
        return False
    return tree.share_rows(connection, ours[0], theirs[0])


def nearest(connection: Connection, table: str) -> list[str]:
    """Names of existing tables that look like this one, for an error message."""
    rows = connection.execute(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r','p','v','m','f') "
        "AND n.nspname NOT IN ('pg_catalog','information_schema') "
        "LIMIT 5000"
    ).fetchall()
    names = [r[0] for r in rows]
    return difflib.get_close_matches(table, names, n=3, cutoff=0.5) or difflib.get_close_matches(
        table.rsplit(".", maxsplit=1)[-1], [n.split(".")[-1] for n in names], n=3, cutoff=0.6
    )


def describe(connection: Connection, table: str) -> Shape | None:
    """The table's shape. Types that only PostgreSQL has become ``other`` (see ``kinds``)."""
    with connection.transaction():
        found = find(connection, table)
        if found is None:
            return None
        oid, schema, name, relkind, _, has_children = found
        encoding = connection.execute("SHOW server_encoding").fetchone()
        if encoding != ("UTF8",):
            raise Refused(
                f"the database of {schema}.{name} is encoded in {encoding and encoding[0]}; "
                "only UTF8 databases are supported"
            )
        path = _printing_in_full(connection)
        database = _database_collation(connection)
        rows = connection.execute(COLUMNS, (oid,)).fetchall()
        types = kinds.load(connection, [row[1] for row in rows], path)
        columns = [_column(row, types, database) for row in rows]
        generations: dict[str, str] = dict(connection.execute(GENERATIONS, (oid,)).fetchall())
        keys = Keys(connection, oid, {c.name for c in columns if not c.nullable})
        make = tree.make_of(connection, oid, relkind, has_children)
    columns = [replace(c, generation=generations.get(c.name)) for c in columns]
    if make.far:
        columns = [_sorted_here(c) for c in columns]
    # The indexes of a parent know nothing of the rows of its children.
    parent = make.kind == "table with inheriting tables"
    return Shape(
        schema,
        name,
        tuple(columns),
        keys.primary,
        unique=() if parent else tuple(keys.unique),
        kind=make.kind,
        parts=make.parts,
        # No column of a materialised view can be made NOT NULL.
        unusable=() if make.kind == "materialised view" else tuple(keys.unusable),
        indexed=tuple(keys.indexed),
        dated=make.dated,
    )


def _sorted_here(column: Column) -> Column:
    """A wrapper may leave comparing to the other server, whose order of texts may be another.

    Under a collation of its own a comparison is made here, and always the same way.
    """
    if column.collation is None:
        return column
    return replace(column, collation="C", sorts=' COLLATE "C"')


def _printing_in_full(connection: Connection) -> list[str]:
    """Has the catalogs print user types with their schema until the transaction ends.

    Returns the search path as it was.
    """
    (path,) = one(connection, "SELECT current_schemas(true)::text[]")
    connection.execute("SET LOCAL search_path = ''")
    return list(path)


def _column(row: tuple[Any, ...], types: kinds.Kinds, database: str) -> Column:
    (name, oid, native, typmod, notnull, default, generated, identity) = row[:8]
    (storage, length, collation, version) = row[8:]
    portable = default if default and not generated and PORTABLE_DEFAULT.match(default) else None
    return Column(
        name=name,
        type=types.logical(oid, typmod),
        native=native,
        nullable=not notnull,
        default=portable,
        generated=bool(generated),
        collation=_collation(collation, version, database),
        deterministic=(collation is None or bool(collation.get("collisdeterministic", True)))
        and not types.loose(oid),
        wide=length == -1 and storage in ("x", "e", "m"),
        required=bool(notnull) and default is None and not identity and not generated,
        carrier=types.carrier(oid, typmod),
        needs=types.needs(oid),
        comparable=types.comparable(oid),
    )


def design(
    connection: Connection, table: str, columns: Sequence[Column], key: Sequence[str]
) -> tuple[Shape, tuple[str, ...]]:
    """The shape a created table will have, and the DDL that creates it."""
    schema, name = dialect.split_name(table)
    if schema is None:
        row = connection.execute("SELECT current_schema()").fetchone()
        schema = row[0] if row else None
        if schema is None:
            raise ConfigError(f"table {table!r} needs a schema: the search path is empty")
    if not connection.execute(
        "SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)
    ).fetchone():
        raise ConfigError(
            f"schema {schema!r} does not exist; create it, or correct the target table {table!r}"
        )
    with connection.transaction():
        _printing_in_full(connection)
        columns, types = create.types(connection, columns)
    # Created columns sort as the database does, however the source's did.
    database = _database_collation(connection)
    columns = [replace(c, collation=c.collation and database) for c in columns]
    order = [c for k in key for c in columns if c.name == k]
    _refuse_long([name, *(c.name for c in columns)], table)
    unique = (tuple(key),) if key else ()
    shape = Shape(schema, name, tuple(columns), tuple(c.name for c in order), unique)
    return shape, dialect.create_table(shape, types)


def design_columns(
    connection: Connection, table: Shape, columns: Sequence[Column]
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """See ``adding.AddsColumns``."""
    made, (*types, _) = design(connection, dialect.qualified(table), columns, ())
    return made.columns, (*types, *dialect.add_columns(table, made.columns))


def _refuse_long(names: Sequence[str], table: str) -> None:
    """The server would cut such a name short, and nobody would find it again."""
    for name in names:
        if len(name.encode()) > LONGEST:
            raise ConfigError(
                f"target {table}: PostgreSQL names have at most {LONGEST} bytes, {name!r} has "
                f"{len(name.encode())}; choose a shorter one"
            )


def typed(connection: Connection, shape: Shape, expressions: Sequence[str]) -> list[Column]:
    """See ``ports.Reads``."""
    found = []
    for expression in expressions:
        cursor = connection.execute(
            f"SELECT ({expression}) FROM {dialect.qualified(shape)} LIMIT 0"
        )
        if cursor.pgresult is None:
            raise Refused(f"the server does not tell the type of {expression}")
        found.append((expression, cursor.pgresult.ftype(0), cursor.pgresult.fmod(0)))
    with connection.transaction():
        path = _printing_in_full(connection)
        # An untyped constant is text.
        found = [(e, TEXT if oid == UNKNOWN else oid, modifier) for e, oid, modifier in found]
        types = kinds.load(connection, [oid for _, oid, _ in found], path)
        return [
            Column(
                expression,
                types.logical(oid, modifier),
                one(connection, "SELECT format_type(%s, %s)", (oid, modifier))[0],
                carrier=types.carrier(oid, modifier),
                needs=types.needs(oid),
            )
            for expression, oid, modifier in found
        ]
