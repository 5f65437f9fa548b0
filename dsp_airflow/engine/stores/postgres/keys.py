"""What can serve as a key, and the proof of a key that no index keeps."""

from __future__ import annotations

from dsp_airflow.engine.errors import BadValue, ConfigError
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.postgres import dialect
from dsp_airflow.engine.stores.postgres.query import Connection, one

INDEXES = """
SELECT i.indisprimary, i.indisunique, c.relname,
       i.indisvalid, i.indimmediate, i.indpred IS NULL, i.indexprs IS NULL,
       coalesce((SELECT array_agg(a.attname::text ORDER BY k.n)
        FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(attnum, n)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum), '{}'),
       i.indisexclusion
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = %s
ORDER BY i.indisprimary DESC, i.indexrelid
"""


class Keys:
    """What the indexes of a table say of its columns."""

    def __init__(self, connection: Connection, oid: int, not_null: set[str]) -> None:
        self.primary: tuple[str, ...] = ()
        self.unique: list[tuple[str, ...]] = []
        self.unusable: list[str] = []
        self.indexed: list[str] = []
        for row in connection.execute(INDEXES, (oid,)).fetchall():
            primary, unique, name, valid, immediate, whole, plain, columns, excluding = row
            if valid and whole and columns and columns[0] not in self.indexed:
                self.indexed.append(columns[0])
            missing = [c for c in columns if c not in not_null]
            why = (
                "an exclusion constraint, which says nothing of single keys"
                if excluding
                else "not valid; build it anew"
                if not valid
                else "DEFERRABLE; make it NOT DEFERRABLE"
                if not immediate
                else "partial; create one without WHERE"
                if not whole
                else "on an expression; create one on plain columns"
                if not plain
                else f"on {', '.join(missing)}, which may be NULL; ALTER COLUMN ... SET NOT NULL"
                if missing
                else ""
            )
            if why and (unique or excluding):
                self.unusable.append(f"{name} is {why}")
            elif unique and not why:
                self.unique.append(tuple(columns))
                self.primary = tuple(columns) if primary else self.primary


def refuse_unproved(connection: Connection, what: Projection, condition: str) -> None:
    """``ConfigError`` unless every row has a key, and one of its own: no index says so."""
    names = ", ".join(k.column for k in what.key)
    nulls = " OR ".join(f"{k.column} IS NULL" for k in what.key)
    missing = one(connection, f"SELECT count(*) FROM {what.table} WHERE {condition} AND ({nulls})")[
        0
    ]
    if missing:
        raise ConfigError(
            f"{what.label}: {missing:,} rows have NULL in the key ({names}) and would never be "
            "copied; name other columns under key, or leave those rows out with where"
        )
    texts = ", ".join(f"({k.column})::text" for k in what.key)
    twin = connection.execute(
        f"SELECT {texts}, count(*) FROM {what.table} WHERE {condition} "
        f"GROUP BY {names} HAVING count(*) > 1 LIMIT 1".encode()
    ).fetchone()
    if twin is not None:
        raise ConfigError(
            f"{what.label}: key ({', '.join(twin[:-1])}) stands in {twin[-1]:,} rows, so ({names}) "
            "is no key; name other columns under key"
        )


def refuse_twins(connection: Connection, what: Projection, stage: str, width: int) -> None:
    """``BadValue`` when a key was staged twice: of the two rows one would be lost."""
    names = ", ".join(dialect.quote(f.column) for f in what.fields[:width])
    texts = ", ".join(f"{dialect.quote(f.column)}::text" for f in what.fields[:width])
    twin = connection.execute(
        f"SELECT {texts} FROM {stage} GROUP BY {names} HAVING count(*) > 1 LIMIT 1".encode()
    ).fetchone()
    if twin is not None:
        raise BadValue(
            f"{what.label}: key ({', '.join(twin)}) came twice from the source, so ({names}) is no "
            "key; name other columns under key. Nothing of the batch was written"
        )
