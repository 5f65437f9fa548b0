"""The parts of an Airflow with FAB, each a process, until one ends or this one is told to.

`airflow standalone` would put SimpleAuthManager in FAB's place. Takes the users as JSON: of each
name its role and its password.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import FrameType

PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")


def main(users: dict[str, tuple[str, str]]) -> None:
    """Makes the database and the users, then starts everything."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True)
    create(users)
    parts = [subprocess.Popen([sys.executable, "-m", "airflow", part]) for part in PARTS]

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        os.wait()
    finally:
        for part in parts:
            part.send_signal(signal.SIGINT)


def create(users: dict[str, tuple[str, str]]) -> None:
    """As `airflow users create` does it, which loads all of FAB for each."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        builder.sm.sync_roles()
        for name, (role, password) in users.items():
            found = builder.sm.find_role(role)
            made = builder.sm.add_user(name, name, name, f"{name}@example.com", found, password)
            assert made, f"FAB did not take the user {name}"


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
