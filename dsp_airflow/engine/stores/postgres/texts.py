"""Canonical texts back into PostgreSQL's own: as it prints them, where it prints them so."""

from __future__ import annotations

from typing import Any, Final

from dsp_airflow.engine.canon.printed import printed as own_text
from dsp_airflow.engine.model import LogicalType

__all__ = ["own_cells", "own_text"]

_USUAL_YEAR: Final = "^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-"
"""Of moments that ISO 8601 and PostgreSQL spell alike."""


def own_cells(texts: Any, kind: LogicalType) -> Any:
    """See ``ports.Restores``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind.name == "bytes":
        return pc.binary_join_element_wise("\\x", texts, "")
    if kind.name in {"date", "timestamp", "timestamptz"}:
        usual = pc.match_substring_regex(texts, _USUAL_YEAR).fill_null(True)
        if pc.all(usual).as_py() is not False:
            return texts
        odd = texts.filter(pc.invert(usual)).to_pylist()
        replaced = pa.array([own_text(text, kind) for text in odd], pa.string())
        return pc.replace_with_mask(texts, pc.invert(usual), replaced)
    if kind.name in {"duration", "list"}:
        return pa.array(
            [None if text is None else own_text(text, kind) for text in texts.to_pylist()],
            pa.string(),
        )
    return texts
