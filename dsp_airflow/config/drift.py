"""What becomes of a job whose source table is not as it was in the run before."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

DriftPolicy = Annotated[
    Literal["fail", "add-columns"],
    Field(
        description=(
            "What a run does whose source table is not as the run before found it. fail: it is "
            "refused, with what changed, until dsp drift accepts it. add-columns: columns that "
            "were added or widened are taken as they are, and a warm job without columns adds to "
            "its target those that it lacks; all else is refused. Nothing is ever dropped."
        )
    ),
]
