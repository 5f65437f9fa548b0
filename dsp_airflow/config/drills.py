"""A drill: an archive that is restored to see that it can be."""

from __future__ import annotations

from pydantic import Field

from dsp_airflow.config.base import Model
from dsp_airflow.config.jobs import JobName, Text


class Drill(Model):
    """Whose archives are tried, one in each execution, and how much of it."""

    task: Text = Field(
        description=(
            "Task that archived the rows. Each execution takes one of its archived runs: one that "
            "was never tried, or the one whose last drill is longest ago."
        ),
        examples=["flights_archive"],
    )
    job: JobName = Field(description="Its job, of type s3.", examples=["flights"])
    percent: float = Field(
        default=10,
        gt=0,
        le=100,
        allow_inf_nan=False,
        description="How many of the archive's batches are restored, drawn at random; at least 1.",
        examples=[10],
    )
