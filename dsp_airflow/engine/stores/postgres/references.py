"""Foreign keys that refer to a table, and which of its rows they refer to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dsp_airflow.engine.model import Key, KeyRange, Projection
from dsp_airflow.engine.references import Name, Reference, closed, reason
from dsp_airflow.engine.stores.postgres import catalog, names, proof, tree
from dsp_airflow.engine.stores.postgres.query import Connection, one

ACTIONS = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
PARENT, CHILD = "dsp_parent", "dsp_child"

# A key of the whole tree has a constraint for each of its partitions, which says nothing new.
# Values are compared as the key compares them: by its operators, under the parent's collation.
LINKS = (
    "WITH RECURSIVE "
    + tree.MEMBERS.format(root="to_regclass(%(table)s)::oid")
    + """, above(oid) AS (
  SELECT to_regclass(%(table)s)::oid
  UNION SELECT inhparent FROM above JOIN pg_inherits ON inhrelid = above.oid
)
SELECT cn.nspname, c.relname, r.conname, r.confdeltype::text, r.condeferrable,
  format('%%s%%I.%%I', CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, cn.nspname, c.relname),
  format('%%I.%%I', pn.nspname, p.relname), format('%%I.%%I', rn.nspname, r.conname),
  r.conrelid IN (SELECT oid FROM members UNION SELECT oid FROM above),
  (SELECT string_agg(
     format('dsp_parent.%%I OPERATOR(%%I.%%s) dsp_child.%%I%%s', pa.attname, o_n.nspname, o.oprname,
            ca.attname, (SELECT format(' COLLATE %%I.%%I', l_n.nspname, l.collname)
                         FROM pg_collation l JOIN pg_namespace l_n ON l_n.oid = l.collnamespace
                         WHERE l.oid = pa.attcollation AND pa.attcollation <> ca.attcollation)),
     ' AND ' ORDER BY k.n)
   FROM unnest(r.conkey, r.confkey, r.conpfeqop) WITH ORDINALITY AS k(child, parent, op, n)
   JOIN pg_attribute ca ON ca.attrelid = r.conrelid AND ca.attnum = k.child
   JOIN pg_attribute pa ON pa.attrelid = r.confrelid AND pa.attnum = k.parent
   JOIN pg_operator o ON o.oid = k.op JOIN pg_namespace o_n ON o_n.oid = o.oprnamespace),
  (SELECT bool_and(has_column_privilege(r.conrelid, a, 'SELECT')) FROM unnest(r.conkey) AS a),
  row_security_active(r.conrelid),
  EXISTS (SELECT 1 FROM pg_index i
          WHERE i.indrelid = r.conrelid AND i.indisvalid AND i.indpred IS NULL
            AND (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(r.conkey)]
                @> r.conkey),
  ARRAY(SELECT relid::oid FROM pg_partition_tree(r.conrelid) UNION SELECT r.conrelid),
  (SELECT array_agg(ARRAY[ca.attname::text, pa.attname::text] ORDER BY k.n)
   FROM unnest(r.conkey, r.confkey) WITH ORDINALITY AS k(child, parent, n)
   JOIN pg_attribute ca ON ca.attrelid = r.conrelid AND ca.attnum = k.child
   JOIN pg_attribute pa ON pa.attrelid = r.confrelid AND pa.attnum = k.parent)
FROM pg_constraint r
JOIN pg_class c ON c.oid = r.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_class p ON p.oid = r.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
JOIN pg_namespace rn ON rn.oid = r.connamespace
WHERE r.contype = 'f' AND r.confrelid IN (SELECT oid FROM members) AND r.conrelid <> 0
  AND NOT EXISTS (SELECT 1 FROM pg_constraint u
                  WHERE u.oid = r.conparentid AND u.confrelid IN (SELECT oid FROM members))
ORDER BY 1, 2, 3
"""
)
MEMBERS = (
    "WITH RECURSIVE "
    + tree.MEMBERS.format(root="to_regclass(%s)::oid")
    + " SELECT array_agg(oid) FROM members"
)
CHANGED = """
SELECT coalesce(sum(updated + deleted) FILTER (WHERE NOT own), 0),
       coalesce(sum(updated) FILTER (WHERE own), 0), coalesce(sum(deleted) FILTER (WHERE own), 0)
FROM (SELECT pg_stat_get_xact_tuples_updated(t) AS updated,
             pg_stat_get_xact_tuples_deleted(t) AS deleted, t = ANY (%(own)s::oid[]) AS own
      FROM unnest(%(all)s::oid[]) AS t) AS counts
"""


@dataclass(frozen=True, slots=True)
class Link:
    """A foreign key that refers to a table or to one of its partitions."""

    child: Name
    constraint: str
    action: str
    deferrable: bool
    rows: str
    """SQL of the child, to stand after FROM."""
    parent: str
    """Quoted: the table or partition that is referred to."""
    quoted: str
    """The constraint's name for statements."""
    own: bool
    """It is a key of the table itself."""
    match: str
    """SQL: whether a row of ``CHILD`` refers to one of ``PARENT``."""
    readable: bool
    hidden: bool
    """Row-level security hides rows of the child from this role."""
    indexed: bool
    """An index of the child finds the rows that refer to one."""
    members: Sequence[int]
    """The child and its partitions."""
    columns: Sequence[Sequence[str]]
    """See ``references.Reference``."""

    @property
    def reason(self) -> str:
        """Why a row stays to which it refers."""
        return reason(".".join(self.child), self.constraint)


def links(connection: Connection, table: str) -> list[Link]:
    """``table`` is quoted SQL."""
    found = connection.execute(LINKS.encode(), {"table": table}).fetchall()
    return [
        Link((schema, name), constraint, ACTIONS.get(action, ""), *rest)
        for schema, name, constraint, action, *rest in found
    ]


def named(connection: Connection, table: str) -> Name | None:
    """See ``references.Refers``."""
    found = catalog.find(connection, table)
    return None if found is None else (found[1], found[2])


def references(connection: Connection, table: Name) -> list[Reference]:
    """See ``references.Refers``."""
    found = []
    for link in links(connection, _quoted(table)):
        parts = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n "
            "ON n.oid = c.relnamespace WHERE c.oid = ANY (%s)",
            (link.members,),
        ).fetchall()
        others = tuple((s, t) for s, t in parts if (s, t) != link.child)
        found.append(
            Reference(
                link.child,
                link.constraint,
                link.action,
                others,
                indexed=link.indexed,
                columns=tuple((mine, other) for mine, other in link.columns),
            )
        )
    return found


def _quoted(table: Name) -> str:
    return ".".join(map(names.quote, table))


def unseen(connection: Connection, table: Name) -> list[str]:
    """What keeps this role from seeing which rows are referred to, or what a delete did."""
    found = links(connection, _quoted(table))
    why = []
    for link in found:
        child = ".".join(link.child)
        if not link.readable:
            why.append(
                f"whether {child} refers to a row is hidden from the role ({link.constraint}): "
                f"GRANT SELECT ON {child} TO <role>"
            )
        elif link.hidden:
            why.append(
                f"row-level security hides rows of {child} from the role, which may refer to rows "
                f"here ({link.constraint}): ALTER ROLE <role> BYPASSRLS"
            )
    counted = one(connection, "SELECT current_setting('track_counts')")[0] == "on"
    if not counted and any(link.action for link in found):
        why.append(
            "the server counts no changes (track_counts = off), by which it is seen that ON DELETE "
            "acted on no row: ALTER ROLE <role> SET track_counts = on"
        )
    return why


class Guard:
    """The references to a table as one purge transaction finds them.

    Made once the table is locked against new ones.
    """

    def __init__(self, connection: Connection, table: str) -> None:
        self._connection = connection
        self.links = links(connection, table)
        if not self.links:
            return
        self._members = one(connection, MEMBERS, (table,))[0]
        put_off = [link.quoted for link in self.links if link.deferrable]
        if put_off:
            # So that what breaks one is told where it can be helped, not at the commit.
            connection.execute(f"SET CONSTRAINTS {', '.join(put_off)} IMMEDIATE".encode())

    def refers(self, what: Projection, within: KeyRange) -> bool:
        """Whether a row of the range is referred to by one outside of it."""
        condition = proof.condition(what, within)
        for link in self.links:
            outside = f" AND NOT ({self._here()} AND ({condition}) IS TRUE)" if link.own else ""
            # All are counted: whoever asks for the first one is given a plan that is slow for none.
            (found,) = one(
                self._connection,
                f"SELECT count(*) FROM {link.parent} AS {PARENT} WHERE {condition} AND EXISTS ("
                f"SELECT 1 FROM {link.rows} AS {CHILD} WHERE {link.match}{outside})",
            )
            if found:
                return True
        return False

    def held(self, what: Projection, arrays: Sequence[list[str]]) -> dict[Key, str]:
        """Of the rows of these keys those that have to stay while all of them would go."""
        matching, own = proof.by_keys(what), self._own(what)
        found: dict[Key, str] = {}
        for link in self.links:
            outside = f" AND NOT ({self._here()} AND {matching})" if link.own else ""
            rows = self._connection.execute(
                f"SELECT {own} FROM {proof.verbatim(link.parent)} AS {PARENT} WHERE {matching} AND "
                f"EXISTS (SELECT 1 FROM {proof.verbatim(link.rows)} AS {CHILD} "
                f"WHERE {proof.verbatim(link.match)}{outside})",
                [*arrays, *(arrays if link.own else ())],
            ).fetchall()
            found |= {tuple(row): link.reason for row in rows if tuple(row) not in found}
        if not found:
            return found
        return closed(
            found, [pair for link in self.links for pair in self._pairs(link, what, arrays)]
        )

    def _pairs(
        self, link: Link, what: Projection, arrays: Sequence[list[str]]
    ) -> list[tuple[Key, Key, str]]:
        if not link.own:
            return []
        matching, width = proof.by_keys(what), len(what.key)
        keys = ", ".join(f"{k.column}::text AS dsp_k{n}" for n, k in enumerate(what.key))
        sides = [
            f"(SELECT *, {proof.verbatim(keys)} FROM {proof.verbatim(table)} AS {name} "
            f"WHERE {matching}) AS {name}"
            for table, name in ((link.rows, CHILD), (link.parent, PARENT))
        ]
        shown = [f"{side}.dsp_k{n}" for side in (CHILD, PARENT) for n in range(width)]
        rows = self._connection.execute(
            f"SELECT {', '.join(shown)} FROM {sides[0]} JOIN {sides[1]} "
            f"ON {proof.verbatim(link.match)}",
            [*arrays, *arrays],
        ).fetchall()
        return [(tuple(row[:width]), tuple(row[width:]), link.reason) for row in rows]

    def _own(self, what: Projection) -> str:
        return proof.verbatim(", ".join(f"{k.column}::text" for k in what.key))

    def _here(self) -> str:
        """SQL: whether a row of ``CHILD`` is one of the table that is purged."""
        return f"{CHILD}.tableoid IN ({', '.join(map(str, self._members))})"

    def alone(self, delete: Callable[[], int]) -> bool:
        """Whether the delete changed no other row than those that it says it deleted.

        The server counts what a transaction does to each table, whoever had it done.
        """
        if not self.links:
            delete()
            return True
        before = self._changed()
        deleted = delete()
        others, updated, own = (
            now - then for now, then in zip(self._changed(), before, strict=True)
        )
        referring = any(link.own for link in self.links)
        return not others and (not referring or (updated == 0 and own == deleted))

    def _changed(self) -> tuple[int, int, int]:
        both = {oid for link in self.links for oid in link.members} | set(self._members)
        values = {"own": self._members, "all": sorted(both)}
        return tuple(map(int, one(self._connection, CHANGED, values)))  # type: ignore[return-value]
