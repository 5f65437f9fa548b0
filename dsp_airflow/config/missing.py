"""Rows of the target that the source has no more: whether they go, and how many at most."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from dsp_airflow.config.base import Model
from dsp_airflow.config.findings import invalid

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%", re.ASCII)


@dataclass(frozen=True, slots=True)
class Most:
    """So many rows, or such a share of those that the target holds."""

    rows: int | None = None
    percent: Decimal | None = None

    def __str__(self) -> str:
        return str(self.rows) if self.percent is None else f"{self.percent}%"

    def of(self, standing: int) -> int:
        """How many of so many rows that is, rounded down."""
        if self.percent is None:
            return self.rows or 0
        return int(standing * self.percent / 100)


def _most(value: object) -> Most:
    if isinstance(value, Most):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return Most(rows=value)
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 < Decimal(match[1]) <= 100:
        raise invalid('must be a number of rows from 1, or a share in quotes such as "5%"')
    return Most(percent=Decimal(match[1]))


class DeleteMissing(Model):
    """What becomes of rows of the target whose key the source does not have."""

    limit: Annotated[
        Most,
        PlainValidator(_most),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "integer", "minimum": 1},
                    {"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,6})?%$"},
                ]
            }
        ),
    ] = Field(
        description=(
            "How many rows one run may delete: a number, or a share of the rows that the target "
            'holds, in quotes, such as "5%". Where more are missing none is deleted, and the run '
            "fails."
        ),
        examples=[1000, "5%"],
    )
    allow_empty: bool = Field(
        default=False,
        description=(
            "Whether a source without any row means that all of the target is to go, up to limit. "
            "false: the run fails then."
        ),
    )
