"""Groups of the rows of a batch, by the values of expressions.

Texts are told apart by their bytes: two that a collation takes for one are two, and every row
belongs to exactly one group.
"""

from __future__ import annotations

from collections.abc import Sequence

from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.stores.mysql.query import Connection, texts


def parts(
    connection: Connection, label: str, rows: str, expressions: Sequence[str], most: int
) -> list[tuple[tuple[str | None, ...], str]]:
    """See ``ports.ReadsArrow``; ``rows`` is the rest of a SELECT."""
    shown = [f"CAST(CONVERT(({x}) USING utf8mb4) AS BINARY)" for x in expressions]
    columns = ", ".join(f"{text} AS p{n}" for n, text in enumerate(shown))
    order = ", ".join(f"p{n}" for n in range(len(shown)))
    found = texts(
        connection,
        f"SELECT * FROM (SELECT DISTINCT {columns} {rows}) AS p ORDER BY {order} LIMIT {most + 1}",
    )
    if len(found) > most:
        raise Refused(
            f"{label}: the rows of one batch fall into more than {most} partitions, each a file of "
            "its own; partition by something coarser, such as the year or the month"
        )
    return [(row, _condition(shown, row)) for row in found]


def _condition(shown: Sequence[str], values: Sequence[str | None]) -> str:
    return " AND ".join(
        f"{text} <=> {'NULL' if value is None else _literal(value)}"
        for text, value in zip(shown, values, strict=True)
    )


def _literal(text: str) -> str:
    return f"x'{text.encode().hex()}'"
