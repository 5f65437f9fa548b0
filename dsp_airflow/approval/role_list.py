"""All roles at once: those that somebody has, and those that processes ask for."""

from __future__ import annotations

from dataclasses import dataclass

from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.processes import Processes
from dsp_airflow.config.processes import ADMINISTRATORS, Process


@dataclass(frozen=True, slots=True)
class RoleLine:
    """One role, who was given it, and the processes that ask for it."""

    role: str
    members: tuple[str, ...]
    processes: tuple[str, ...]


def role_list(roles: Roles, processes: Processes) -> list[RoleLine]:
    """By name; the administrators are always among them."""
    members = roles.all()
    asked: dict[str, list[str]] = {ADMINISTRATORS: []}
    for process in (one.process for one in processes.all()):
        for role in roles_of(process):
            asked.setdefault(role, []).append(process.name)
    return [
        RoleLine(role, tuple(sorted(members.get(role, ()))), tuple(sorted(asked.get(role, ()))))
        for role in sorted({*members, *asked})
    ]


def roles_of(process: Process) -> set[str]:
    """Those that a process asks."""
    nodes = (node for level in process.levels for node in level.nodes)
    return {node.role for node in nodes if node.role is not None}
