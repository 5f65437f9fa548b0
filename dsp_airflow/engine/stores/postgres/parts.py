"""Groups of the rows of a batch, by the values of expressions."""

from __future__ import annotations

from collections.abc import Sequence

from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import KeyRange, Projection
from dsp_airflow.engine.stores.postgres import dialect, proof
from dsp_airflow.engine.stores.postgres.query import Connection


def parts(
    connection: Connection,
    what: Projection,
    within: KeyRange,
    expressions: Sequence[str],
    most: int,
) -> list[tuple[tuple[str | None, ...], str]]:
    """See ``ports.ReadsArrow``."""
    texts = [f"({expression})::text" for expression in expressions]
    order = ", ".join(f'{n} COLLATE "C"' for n in (f"p{i}" for i in range(len(texts))))
    columns = ", ".join(f"{text} AS p{n}" for n, text in enumerate(texts))
    rows = connection.execute(
        f"SELECT * FROM (SELECT DISTINCT {columns} FROM {what.table} "
        f"WHERE {proof.condition(what, within)}) AS p ORDER BY {order} LIMIT {most + 1}".encode()
    ).fetchall()
    if len(rows) > most:
        raise Refused(
            f"{what.label}: the rows of one batch fall into more than {most} partitions, each a "
            "file of its own; partition by something coarser, such as the year or the month"
        )
    return [(tuple(row), _condition(texts, row)) for row in rows]


def _condition(texts: Sequence[str], values: Sequence[str | None]) -> str:
    literals = ["NULL" if value is None else dialect.text_literal(value) for value in values]
    return " AND ".join(
        f"{text} IS NOT DISTINCT FROM {literal}"
        for text, literal in zip(texts, literals, strict=True)
    )
