"""What an installation says about approval, in Airflow's section ``[dsp]``."""

from __future__ import annotations

import json
from pathlib import Path

from dsp_airflow.config.names import check_email
from dsp_airflow.config.processes import BUILT_IN
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.state.settings import airflow_home, setting, truth, variable

ENFORCED_BY_DEFAULT = False
"""Whether a task waits for approval where ``[dsp] enforce_approval`` is not set."""
TOLERANCE = 20
"""Percent by which an estimate may be off before the approval is void."""

NOT_ENFORCED = (
    "Approval is not enforced ([dsp] enforce_approval is off): nobody was asked, and nothing waits"
)


def enforced() -> bool:
    """Whether nothing may work unless it was approved. What cannot be read is never a no."""
    return truth("enforce_approval", default=ENFORCED_BY_DEFAULT)


def tolerance() -> int:
    """See ``TOLERANCE``; ``[dsp] estimate_tolerance``."""
    text = setting("estimate_tolerance")
    if text is None:
        return TOLERANCE
    if not (text.isascii() and text.isdigit() and int(text) <= 1000):
        name = variable("estimate_tolerance")
        raise ConfigError(f"{name} is {text!r}; it must be a whole number of percent, 0 to 1000")
    return int(text)


def default_process() -> str:
    """Which process holds where none matches: ``[dsp] default_process``, or the built-in one."""
    return setting("default_process") or BUILT_IN


def processes_folder() -> Path:
    """Where process files are: ``[dsp] processes_folder``, or ``processes`` in the DAG folder."""
    told = setting("processes_folder")
    if told is not None:
        return Path(told)
    dags = setting("dags_folder", "core")
    return (Path(dags) if dags else airflow_home() / "dags") / "processes"


def names_processes_folder() -> bool:
    """Whether the folder was named, and so has to be there."""
    return setting("processes_folder") is not None


def connection_labels() -> dict[str, frozenset[str]]:
    """The labels of each connection that has some: ``[dsp] connection_labels``.

    The setting is JSON, a list of connections for each label: ``{"production": ["shop_pg"]}``.
    """
    text = setting("connection_labels")
    if text is None:
        return {}
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    found: dict[str, frozenset[str]] = {}
    for label, names in told.items() if isinstance(told, dict) else [("", None)]:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            name = variable("connection_labels")
            raise ConfigError(
                f'{name} must be JSON such as {{"production": ["shop_pg"]}}; it is {text!r}'
            )
        for one in names:
            found[one] = found.get(one, frozenset()) | {label}
    return found


def acting_user(login: str | None) -> str:
    """Who acts on the command line: the operating system's user, or whom ``[dsp] cli_users`` names.

    The setting is a list such as ``deploy=anna, root=otto``.
    """
    if login is None:
        raise ConfigError("the operating system does not say who you are, so you cannot act")
    for entry in filter(None, map(str.strip, (setting("cli_users") or "").split(","))):
        name, sign, user = (part.strip() for part in entry.partition("="))
        if not (name and sign and user):
            raise ConfigError(
                f"{variable('cli_users')} has {entry!r}; entries are login=user, such as root=anna"
            )
        if name == login:
            return user
    return login


def address_of(user: str) -> str | None:
    """Where mails to a user go: a name that is an address; else at ``[dsp] mail_domain``."""
    domain = setting("mail_domain")
    address = user if "@" in user else f"{user}@{domain}" if domain else None
    try:
        return None if address is None else check_email(address)
    except ValueError:
        return None  # not everybody who may decide can be written to


def base_url() -> str | None:
    """Where Airflow's pages are, if it is configured."""
    url = setting("base_url", "api")
    return url.rstrip("/") if url else None
