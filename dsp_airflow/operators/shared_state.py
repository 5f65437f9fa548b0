"""Workers on several machines need a state database that all of them reach."""

from __future__ import annotations

import os
import re

from dsp_airflow.engine.errors import Refused
from dsp_airflow.state.location import label, state_url

LOCAL_EXECUTORS = frozenset({"LocalExecutor", "SequentialExecutor"})
POD = "AIRFLOW_IS_K8S_EXECUTOR_POD"
"""Set by KubernetesExecutor in each of its pods, whatever executor the pod's own settings name."""


def require_shared_state() -> None:
    """Refuses SQLite, which serves one machine, where tasks may run on others.

    Each machine would have a file of its own; of one on a shared volume the locks do not hold.
    """
    url = state_url()
    if url.get_backend_name() != "sqlite":
        return
    remote = remote_executors()
    if remote:
        raise Refused(
            f"{label(url)} is SQLite, which {remote[0]} cannot share between machines; set [dsp] "
            "sql_alchemy_conn to a PostgreSQL database, everywhere, and run: dsp db upgrade"
        )


def remote_executors() -> list[str]:
    """The executors of this Airflow that run tasks elsewhere, for any team, by class."""
    from airflow.configuration import conf

    if os.environ.get(POD):
        return ["KubernetesExecutor"]
    names = str(conf.get("core", "executor", fallback="") or "")
    # As in "LocalExecutor,far:CeleryExecutor;team=company.module.EdgeExecutor".
    classes = [re.split(r"[.:=]", name.strip())[-1] for name in re.split("[,;]", names)]
    return [name for name in classes if name and name not in LOCAL_EXECUTORS]
