"""Sequences of a target, moved past the values that were copied into their columns."""

from __future__ import annotations

from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.postgres import dialect
from dsp_airflow.engine.stores.postgres.query import Connection, one

# By identity, by OWNED BY, and by a default that draws from it.
FILLING = """
SELECT DISTINCT a.attname, s.oid, n.nspname, s.relname, q.seqincrement, q.seqmin, q.seqmax,
       q.seqcycle,
       has_sequence_privilege(s.oid, 'SELECT') AND has_sequence_privilege(s.oid, 'UPDATE')
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN LATERAL (
  SELECT d.objid AS oid FROM pg_depend d
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i')
  UNION
  SELECT d.refobjid FROM pg_attrdef f JOIN pg_depend d
    ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
    AND d.refclassid = 'pg_class'::regclass
  WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum
) AS from_it ON true
JOIN pg_class s ON s.oid = from_it.oid AND s.relkind = 'S'
JOIN pg_namespace n ON n.oid = s.relnamespace
JOIN pg_sequence q ON q.seqrelid = s.oid
WHERE a.attrelid = to_regclass(%s) AND a.attname = ANY (%s) AND NOT a.attisdropped
  AND t.typname IN ('int2', 'int4', 'int8', 'numeric')
ORDER BY 1, 3, 4
"""
STEPS = 10_000
"""So far a sequence is moved by drawing from it, which cannot meet somebody who draws as well."""


def move(connection: Connection, what: Projection, *, dry: bool = False) -> list[str]:
    """See ``ports.Writes``."""
    columns = [f.column for f in what.fields]
    told = []
    for row in connection.execute(FILLING.encode(), (what.table, columns)).fetchall():
        column, oid, schema, name, step, lowest, highest, cycles, allowed = row
        label = f"{dialect.quote(schema)}.{dialect.quote(name)}"
        where = f"sequence {label} of column {column} of {what.label}"
        if cycles:
            told.append(f"{where} runs in a circle and stays where it is")
        elif not allowed:
            told.append(
                f"{where} stays where it is, and new rows may meet copied ones: "
                f"GRANT SELECT, UPDATE ON SEQUENCE {label} TO <role>"
            )
        elif not dry:
            value = _moved(connection, what, column, oid, label, (step, lowest, highest))
            if value is not None:
                told.append(f"{where} moved to {value}")
    return told


def _moved(
    connection: Connection,
    what: Projection,
    column: str,
    oid: int,
    label: str,
    limits: tuple[int, int, int],
) -> int | None:
    """Where it stands now; ``None`` when it stood there, or further, already."""
    step, lowest, highest = limits
    furthest = "max" if step > 0 else "min"
    quoted = dialect.quote(column)
    # Only values of the sequence's own range: NaN and others were never drawn from it.
    found = one(
        connection,
        f"SELECT trunc({furthest}({quoted})::numeric)::bigint FROM {what.table} "
        f"WHERE {quoted} >= {lowest} AND {quoted} <= {highest}",
    )[0]
    if found is None:
        return None
    with connection.transaction():
        # Others of our kind wait here; nobody sets back what another has just set.
        one(
            connection,
            f"SELECT pg_advisory_xact_lock(hashtext('dsp_airflow moves'), {oid % 2**31})",
        )
        last, called = one(connection, f"SELECT last_value, is_called FROM {label}")
        steps = (found - last) // step
        draws = steps + (not called)
        if steps < 0 or not draws:
            return None
        if draws > STEPS:
            # Whoever draws meanwhile would have to draw as many at once to be set back.
            reached = last + steps * step
            value = one(connection, f"SELECT setval({oid}::oid::regclass, {reached}, true)")[0]
        else:
            value = one(
                connection,
                f"SELECT {furthest}(nextval({oid}::oid::regclass)) "
                f"FROM generate_series(1, {draws})",
            )[0]
    return int(value)
