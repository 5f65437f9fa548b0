"""What a type is, by the catalogs: its logical type, its identity, and how to create it.

The *identity* of a type that only PostgreSQL has says what it is made of, never its number,
which differs between databases: the name of a built-in type, extension and name of an
extension's, the columns of a composite, the labels of an enum inside of one. Two types of one
identity read each other's texts, and equal texts are equal values.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dsp_airflow.engine.model import LogicalType, NativeType
from dsp_airflow.engine.stores.postgres import dialect
from dsp_airflow.engine.stores.postgres.query import Connection

SIMPLE: Final = {
    "bool": "bool",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "float4": "float32",
    "float8": "float64",
    "text": "string",
    "bytea": "bytes",
    "date": "date",
    "uuid": "uuid",
    "json": "json",
    "jsonb": "json",
}
HERE_ONLY: Final = ("reg", "aclitem")
"""Names that begin so: values that name objects or roles of one database."""
CASELESS: Final = "citext"
"""An extension and its type: text whose equality ignores case."""

TYPES: Final = """
WITH RECURSIVE reached (oid) AS (
  SELECT unnest(%s::oid[])
  UNION
  SELECT part.oid FROM reached JOIN pg_type t ON t.oid = reached.oid CROSS JOIN LATERAL (
    SELECT e.oid FROM pg_type e WHERE e.typarray = t.oid
    UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd'
    UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
    UNION ALL SELECT r.rngtypid FROM pg_range r WHERE t.oid = r.rngmultitypid
    UNION ALL SELECT a.atttypid FROM pg_attribute a
      WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
  ) AS part (oid)
)
SELECT t.oid::int8, n.nspname, t.typname, t.typtype::text, format_type(t.oid, NULL),
  (SELECT e.oid::int8 FROM pg_type e WHERE e.typarray = t.oid),
  t.typbasetype::int8, t.typtypmod,
  x.extname, x.nspname,
  (SELECT array_agg(l.enumlabel::text ORDER BY l.enumsortorder)
   FROM pg_enum l WHERE l.enumtypid = t.oid),
  (SELECT json_agg(json_build_array(a.attname, a.atttypid::int8, a.atttypmod,
            format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation <> e.typcollation THEN a.attcollation::regcollation END,
            coalesce(c.collisdeterministic, true)) ORDER BY a.attnum)
   FROM pg_attribute a JOIN pg_type e ON e.oid = a.atttypid
   LEFT JOIN pg_collation c ON c.oid = a.attcollation
   WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped),
  (SELECT json_build_object('range', r.rngtypid::int8, 'of', r.rngsubtype::int8,
            'class', CASE WHEN NOT o.opcdefault
              THEN format('%%I.%%I', opcn.nspname, o.opcname) END,
            'collation', CASE WHEN r.rngcollation <> s.typcollation
              THEN r.rngcollation::regcollation END,
            'canonical', nullif(r.rngcanonical::oid, 0)::regproc,
            'diff', nullif(r.rngsubdiff::oid, 0)::regproc,
            'multirange', format_type(r.rngmultitypid, NULL))
   FROM pg_range r JOIN pg_type s ON s.oid = r.rngsubtype JOIN pg_opclass o ON o.oid = r.rngsubopc
   JOIN pg_namespace opcn ON opcn.oid = o.opcnamespace
   WHERE t.oid IN (r.rngtypid, r.rngmultitypid)),
  CASE WHEN t.typtype = 'd' THEN json_build_object(
    'base', format_type(t.typbasetype, t.typtypmod), 'strict', t.typnotnull,
    'collation', CASE WHEN t.typcollation <> b.typcollation THEN t.typcollation::regcollation END,
    'checks', (SELECT json_agg(json_build_array(k.conname, pg_get_constraintdef(k.oid),
                 k.convalidated AND NOT EXISTS (SELECT 1 FROM pg_depend d
                   WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                     AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
                     -- What comes with the base type's extension is there when the type is.
                     AND NOT EXISTS (SELECT 1 FROM pg_depend m JOIN pg_depend o
                       ON o.refobjid = m.refobjid AND o.refclassid = m.refclassid
                       WHERE m.classid = d.refclassid AND m.objid = d.refobjid AND m.deptype = 'e'
                         AND o.classid = 'pg_type'::regclass AND o.objid = t.typbasetype
                         AND o.deptype = 'e')))
                 ORDER BY k.conname)
               FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')) END,
  coalesce(co.collisdeterministic, true),
  EXISTS (SELECT 1 FROM pg_operator o
          WHERE o.oprname = '<=' AND o.oprleft = t.oid AND o.oprright = t.oid)
FROM reached JOIN pg_type t ON t.oid = reached.oid
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_collation co ON co.oid = t.typcollation
LEFT JOIN LATERAL (
  SELECT x.extname, s.nspname FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
  JOIN pg_namespace s ON s.oid = x.extnamespace
  WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid
    AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e') AS x ON true
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A type as the catalogs have it."""

    oid: int
    schema: str
    name: str
    kind: str
    printed: str
    element: int | None
    base: int
    modifier: int
    extension: str | None
    home: str | None
    """The schema of the extension."""
    labels: list[str] | None
    columns: list[list[Any]] | None
    range: dict[str, Any] | None
    domain: dict[str, Any] | None
    deterministic: bool
    ordered: bool
    """It has an operator <= of its own."""

    @property
    def built_in(self) -> bool:
        return self.schema == "pg_catalog" and self.extension is None


@dataclass(frozen=True, slots=True)
class Kinds:
    """Types of one database, each with all that it is made of."""

    rows: dict[int, Row]
    path: Collection[str]
    """The schemas in which the session finds operators."""

    def logical(self, oid: int, modifier: int) -> LogicalType:
        """The logical type. A domain's is that of what it stands for."""
        row = self.rows[oid]
        if row.kind == "d":
            return self.logical(row.base, row.modifier)
        if row.kind == "e":
            return LogicalType("enum", labels=tuple(row.labels or ()))
        if row.element is not None:
            element = self.logical(row.element, modifier)
            if element.name not in ("other", "list"):
                return LogicalType("list", element=element)
        elif (row.extension, row.name) == (CASELESS, CASELESS):
            return LogicalType("string")
        elif row.built_in and (found := _simple(row.name, modifier)) is not None:
            return found
        last = self.rows[self._innermost(oid)]
        length = modifier if last.name in ("bit", "varbit") and modifier > 0 else None
        digits = modifier if last.name == "timetz" and modifier >= 0 else None
        return LogicalType("other", length=length, digits=digits, identity=self.identity(oid))

    def identity(self, oid: int) -> str | None:
        """See the module; ``None`` for values that mean nothing in another database."""
        row = self.rows[oid]
        if row.kind == "d":
            return self.identity(row.base)
        if row.kind == "e":
            return f"enum {json.dumps(sorted(row.labels or ()))}"
        if row.element is not None:
            return _made("{} array", self.identity(row.element))
        if row.built_in:
            return None if row.name.startswith(HERE_ONLY) else row.name
        if row.extension is not None:
            return f"{row.name} of extension {row.extension}"
        if row.kind == "c":
            parts = [
                _made(f"{json.dumps(name)} {{}}" + (f" ({modifier})" if modifier >= 0 else ""), of)
                for name, part, modifier, *_ in row.columns or ()
                for of in [self.identity(part)]
            ]
            return None if None in parts else f"row ({', '.join(map(str, parts))})"
        if row.range is not None:
            parts = [row.range[name] for name in ("class", "collation", "canonical")]
            kind = "range" if row.kind == "r" else "multirange"
            text = f"{kind} of {{}}" + (f" by {parts}" if any(parts) else "")
            return _made(text, self.identity(row.range["of"]))
        return f"{row.schema}.{row.name}"

    def carrier(self, oid: int, modifier: int) -> str | None:
        """The type under a domain, or under a type whose operators ignore case."""
        row = self.rows[oid]
        if row.kind == "d":
            below = self.rows[row.base]
            plain = (row.domain or {})["base"]
            return self.carrier(below.oid, row.modifier) or plain
        if row.element is not None:
            inner = self.carrier(row.element, modifier)
            # An array of domains over arrays is not cast to one of arrays: there is none.
            return None if inner is None or inner.endswith("]") else f"{inner}[]"
        return "text" if (row.extension, row.name) == (CASELESS, CASELESS) else None

    def loose(self, oid: int) -> bool:
        """Whether equality inside of it takes several texts for one."""
        return any(
            (row.extension, row.name) == (CASELESS, CASELESS)
            or not row.deterministic
            or not all(column[5] for column in row.columns or ())
            for row in self._parts(oid)
        )

    def comparable(self, oid: int) -> bool:
        """Whether the session finds its operators, and ranges can be told with them."""
        row = self.rows[oid]
        if row.kind == "d":
            return self.comparable(row.base)
        if row.kind == "b" and row.element is None and not (row.built_in or row.ordered):
            return False
        return all(
            row.schema in self.path or row.built_in or row.kind != "b" or row.element is not None
            for row in self._parts(oid)
        )

    def needs(self, oid: int) -> tuple[NativeType, ...]:
        """The types it is made of that another database may lack; parts come first."""
        found = {}
        for row in self._parts(oid):
            if row.built_in or row.element is not None or row.kind == "m":
                continue
            statement, simple = (
                _statement(row)
                if row.range is None or row.extension is not None
                else _range(row, self.rows[row.range["of"]].printed)
            )
            found[row.printed] = NativeType(
                name=row.printed,
                identity=str(self.identity(row.oid)),
                statement=statement,
                simple=simple,
                extension=row.extension,
                schema=row.home or row.schema,
            )
        return tuple(found.values())

    def _innermost(self, oid: int) -> int:
        row = self.rows[oid]
        return oid if row.element is None else self._innermost(row.element)

    def _parts(self, oid: int) -> Iterator[Row]:
        """The type and all it is made of, parts first."""
        row = self.rows[oid]
        inner = [column[1] for column in row.columns or ()]
        if row.range is not None:
            inner += [row.range["of"]] + ([row.range["range"]] if row.kind == "m" else [])
        inner += [part for part in (row.element, row.base) if part]
        for part in inner:
            yield from self._parts(part)
        yield row


def load(connection: Connection, oids: Collection[int], path: Collection[str]) -> Kinds:
    """All of these types. The search path has to be empty, so that names are printed in full."""
    rows = connection.execute(TYPES, (list(oids),)).fetchall()
    return Kinds({row[0]: Row(*row) for row in rows}, path)


def found_in(
    connection: Connection, wanted: Sequence[NativeType]
) -> dict[str, tuple[str, str | None]]:
    """Those that the database has: by the name that was asked for, its name and identity here.

    The search path has to be empty.
    """
    found = {}
    for kind in wanted:
        if kind.extension is not None:
            name = kind.identity.removesuffix(f" of extension {kind.extension}")
            row = connection.execute(
                "SELECT t.oid::int8 FROM pg_type t JOIN pg_depend d ON d.objid = t.oid "
                "AND d.classid = 'pg_type'::regclass AND d.deptype = 'e' "
                "JOIN pg_extension x ON x.oid = d.refobjid "
                "WHERE d.refclassid = 'pg_extension'::regclass "
                "AND x.extname = %s AND t.typname = %s",
                (kind.extension, name),
            ).fetchone()
        else:
            row = connection.execute("SELECT to_regtype(%s)::oid::int8", (kind.name,)).fetchone()
        if row is not None and row[0] is not None:
            here = load(connection, [row[0]], ())
            found[kind.name] = here.rows[row[0]].printed, here.identity(row[0])
    return found


def _made(text: str, part: str | None) -> str | None:
    return None if part is None else text.replace("{}", part, 1)


def _simple(name: str, modifier: int) -> LogicalType | None:
    if name in SIMPLE:
        return LogicalType(SIMPLE[name])
    if name in ("varchar", "bpchar"):
        return LogicalType("string", length=modifier - 4 if modifier >= 4 else None)
    if name == "numeric":
        if modifier < 4:
            return LogicalType("decimal")
        scale = ((modifier - 4) & 0x7FF ^ 1024) - 1024
        return LogicalType("decimal", precision=(modifier - 4) >> 16 & 0xFFFF, scale=scale)
    if name in ("time", "timestamp", "timestamptz"):
        return LogicalType(name, digits=modifier if modifier >= 0 else 6)
    if name == "interval":
        digits = modifier & 0xFFFF
        return LogicalType("duration", digits=digits if modifier >= 0 and digits <= 6 else None)
    return None


def _statement(row: Row) -> tuple[str, bool]:
    """SQL that creates the type, and whether no more is needed than that."""
    if row.extension is not None:
        return f"CREATE EXTENSION {dialect.quote(row.extension)}", False
    if row.kind == "e":
        labels = ", ".join(dialect.text_literal(label) for label in row.labels or ())
        return f"CREATE TYPE {row.printed} AS ENUM ({labels})", True
    if row.kind == "c":
        columns = ", ".join(
            f"{dialect.quote(name)} {kind}" + (f" COLLATE {collation}" if collation else "")
            for name, _, _, kind, collation, _ in row.columns or ()
        )
        return f"CREATE TYPE {row.printed} AS ({columns})", True
    if row.kind == "d" and row.domain is not None:
        return _domain(row, row.domain)
    return f"CREATE TYPE {row.printed} (...)", False


def _domain(row: Row, domain: dict[str, Any]) -> tuple[str, bool]:
    parts = [f"CREATE DOMAIN {row.printed} AS {domain['base']}"]
    if domain["collation"]:
        parts.append(f"COLLATE {domain['collation']}")
    if domain["strict"]:
        parts.append("NOT NULL")
    checks = domain["checks"] or []
    parts += [f"CONSTRAINT {dialect.quote(name)} {check}" for name, check, _ in checks]
    return " ".join(parts), all(simple for *_, simple in checks)


def _range(row: Row, subtype: str) -> tuple[str, bool]:
    told = row.range or {}
    parts = [f"SUBTYPE = {subtype}"]
    names = {"class": "SUBTYPE_OPCLASS", "collation": "COLLATION", "diff": "SUBTYPE_DIFF"}
    parts += [f"{word} = {told[name]}" for name, word in names.items() if told[name]]
    parts.append(f"MULTIRANGE_TYPE_NAME = {told['multirange']}")
    diff = str(told["diff"] or "")
    simple = told["canonical"] is None and (not diff or "." not in diff)
    return f"CREATE TYPE {row.printed} AS RANGE ({', '.join(parts)})", simple
