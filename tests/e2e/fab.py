"""An Airflow whose users are FAB's."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsp_airflow.demo.standalone import AirflowStandalone

MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"


class AirflowWithFab(AirflowStandalone):
    """As `AirflowStandalone`; `users` are roles of FAB by name, `admin` among them."""

    def __init__(self, home: Path, *, users: Mapping[str, str], **values: Any) -> None:
        super().__init__(home, **values)
        self.settings |= {"AIRFLOW__CORE__AUTH_MANAGER": MANAGER}
        self._users = {name: (role, secrets.token_hex(8)) for name, role in users.items()}

    def command(self) -> Sequence[str]:
        """`airflow standalone` knows no other users than its own."""
        parts = Path(__file__).with_name("fab_parts.py")
        return [sys.executable, str(parts), json.dumps(self._users)]

    def password_of(self, user: str) -> str:
        """What the user was made with."""
        return self._users[user][1]
