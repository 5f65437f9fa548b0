"""What an installation says about grants, in Airflow's section ``[dsp]``."""

from __future__ import annotations

from dsp_airflow.state.settings import truth

ENFORCED_BY_DEFAULT = True
"""Whether work needs grants where ``[dsp] enforce_grants`` is not set."""
NOT_ENFORCED = (
    "Grants are not enforced ([dsp] enforce_grants is off): whoever can start work may do it"
)


def enforced() -> bool:
    """Whether nothing may be touched that was not granted. What cannot be read is never a no."""
    return truth("enforce_grants", default=ENFORCED_BY_DEFAULT)
