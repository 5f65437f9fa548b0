"""Who may touch what in the demonstration, who has to agree to what, and the person who does."""

from __future__ import annotations

import getpass
import time
from pathlib import Path

from dsp_airflow.approval.machine import State
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.records import Request
from dsp_airflow.approval.requests import Requests
from dsp_airflow.config.processes import ADMINISTRATORS
from dsp_airflow.demo.errors import DemoError
from dsp_airflow.permissions.grants import Holder, Scope
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state.database import StateDatabase

APPROVER = "olga"
"""Decides. Who triggers the runs is Airflow's `admin`, and may not."""
ROLE = "owners"
OWNER = "data-platform"
"""Of the tasks in `dags/tasks`."""
TRIGGERS = "admin"
# The owner has what the tasks do; who triggers them reads, and has archived rows written back.
GRANTS = (
    (OWNER, "flights_source", ("read", "purge")),
    (OWNER, "flights_target", ("write",)),
    (OWNER, "archive_s3", ("read", "write")),
    (OWNER, "shop_mariadb", ("write",)),
    (OWNER, "shop_mongo", ("read", "write", "purge")),
    (TRIGGERS, "flights_source", ("read", "write")),
    (TRIGGERS, "flights_target", ("read",)),
    (TRIGGERS, "archive_s3", ("read",)),
    (TRIGGERS, "shop_mariadb", ("read",)),
    (TRIGGERS, "shop_mongo", ("read",)),
)
FOLDER = "processes"
POLL_SECONDS = 0.2

# What leaves the shop for good is decided by a person, everything else passes by itself.
PROCESSES = {
    "warehouse": f"""\
name: Warehouse
task_type: warm
priority: 1
connections: {{names: [flights_target]}}
levels:
  - nodes: [{{role: {ROLE}}}]
""",
    **{
        f"{kind}_passes": f"""\
name: {kind.capitalize()}Passes
task_type: {kind}
levels:
  - nodes: [{{automatic: true}}]
"""
        for kind in ("warm", "s3", "restore")
    },
}


def settings(home: Path) -> dict[str, str]:
    """Writes the processes below `home`; what Airflow and the command have to be told."""
    folder = home / FOLDER
    folder.mkdir()
    for name, text in PROCESSES.items():
        (folder / f"{name}.yaml").write_text(text)
    return {
        "AIRFLOW__DSP__ENFORCE_APPROVAL": "True",
        "AIRFLOW__DSP__ENFORCE_GRANTS": "True",
        "AIRFLOW__DSP__PROCESSES_FOLDER": str(folder),
        # Whoever looks further, at a shell, decides as that person.
        "AIRFLOW__DSP__CLI_USERS": f"{getpass.getuser()}={APPROVER}",
    }


def appoint(state: StateDatabase) -> None:
    """Gives the person the roles, and has her give everybody what they need."""
    for role in (ADMINISTRATORS, ROLE):
        Roles(state).add(role, APPROVER, APPROVER)
    for holder, connection, privileges in GRANTS:
        Grants(state).add(Holder(holder), Scope(connection), privileges, APPROVER)


def approve(state: StateDatabase, dag: str, seconds: float) -> Request:
    """Says yes to what a run of this DAG asks for, as soon as it does; returns the request."""
    requests = Requests(state)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for found in requests.waiting_for(APPROVER):
            if found.key.startswith(f"{dag}/"):
                return requests.decide(
                    found.id,
                    APPROVER,
                    "seen, and meant",
                    approved=True,
                    seen=found.version,
                    digest=found.digest,
                )
        time.sleep(POLL_SECONDS)
    raise DemoError(f"the run of {dag} has asked for no approval within {seconds:g} s")


def in_words(request: Request) -> str:
    """Who agreed to what."""
    [job] = request.evidence["jobs"]
    if request.state != State.WAIT_FOR_EXECUTION:
        raise DemoError(f"request {request.id} is {request.state}, though it was approved")
    return (
        f"{request.requester} asked, {APPROVER} agreed: {job['source']} -> {job['target']}, "
        f"{job['rows']:,} rows; deletes {job['deletes']}"
    )
