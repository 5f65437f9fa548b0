"""The gate between looking and doing."""

from __future__ import annotations

from typing import Any, cast

from airflow.sdk import BaseSensorOperator


class ApprovalSensor(BaseSensorOperator):
    """Lets every run through: this version asks nobody for approval, and says so in the log.

    It holds the gate's place, so that DAGs keep their shape when approvals come.
    """

    ui_color = "#fff3d6"

    def __init__(self, *, dsp_notify: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Carried for the listener: see dsp_airflow/listener.py.
        self.dsp_notify = dsp_notify

    @classmethod
    def get_serialized_fields(cls) -> frozenset[str]:
        """Airflow's, and what this step carries."""
        return cast(
            "frozenset[str]",
            super().get_serialized_fields(),  # type: ignore[no-untyped-call]
        ) | {"dsp_notify"}

    def poke(self, context: Any) -> bool:
        """Always true."""
        self.log.info(
            "Approval is not enforced in this version: nobody was asked, and the run of %s goes on",
            context["dag_run"].dag_id,
        )
        return True
