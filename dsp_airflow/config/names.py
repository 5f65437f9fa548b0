"""Names of tasks, jobs, tables and people."""

from __future__ import annotations

import re

from dsp_airflow.config.findings import invalid

TASK_NAME_PATTERN = r"[A-Za-z0-9_.-]+"
JOB_NAME_PATTERN = r"[A-Za-z0-9_-]+"
PURGE_SUFFIX = "__purge"
RESTORE_SUFFIX = "__restore"
ROLLBACK_SUFFIX = "__rollback"
REPAIR_SUFFIX = "__repair"
BY_HAND = (PURGE_SUFFIX, RESTORE_SUFFIX, ROLLBACK_SUFFIX, REPAIR_SUFFIX)
"""What the id of a DAG ends in that somebody begins by a form, besides the task's own."""
# Airflow keeps 250 characters of a DAG id, and each DAG by hand adds its suffix.
MAX_TASK_NAME = 240
# Task ids of a job are made of its name and the step, within Airflow's 250 characters.
MAX_JOB_NAME = 200

_TASK_NAME = re.compile(TASK_NAME_PATTERN)
_JOB_NAME = re.compile(JOB_NAME_PATTERN)
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
MAX_EMAIL = 254
_TABLE_PART = r'("(?:[^"\0]|"")+"|[^".\s\0]+)'
_TABLE = re.compile(rf"{_TABLE_PART}(?:\.{_TABLE_PART})?")


def check_task_name(name: str) -> str:
    """Returns the name when it can be a DAG id."""
    if not _TASK_NAME.fullmatch(name):
        raise invalid("must be letters, digits, _ - and . only", _repaired(name, keep="."))
    if name.endswith(PURGE_SUFFIX):
        raise invalid(f"must not end in {PURGE_SUFFIX}, which names the DAG for manual deletion")
    if name.endswith(RESTORE_SUFFIX):
        raise invalid(f"must not end in {RESTORE_SUFFIX}, which names the DAG that restores")
    if name.endswith(ROLLBACK_SUFFIX):
        raise invalid(f"must not end in {ROLLBACK_SUFFIX}, which names the DAG of rollbacks")
    if name.endswith(REPAIR_SUFFIX):
        raise invalid(f"must not end in {REPAIR_SUFFIX}, which names the DAG that repairs")
    if len(name) > MAX_TASK_NAME:
        raise invalid(f"must not be longer than {MAX_TASK_NAME} characters")
    return name


def check_job_name(name: str) -> str:
    """Returns the name when it can be part of Airflow's task and group ids."""
    if not _JOB_NAME.fullmatch(name):
        raise invalid("must be letters, digits, _ and - only", _repaired(name))
    if len(name) > MAX_JOB_NAME:
        raise invalid(f"must not be longer than {MAX_JOB_NAME} characters")
    return name


def check_email(address: str) -> str:
    """Returns the address when it has the form name@host."""
    if not address.isascii():
        raise invalid(
            "must be written in ASCII, as not every mail server takes other letters; "
            "a host's international name begins with xn-- then"
        )
    if not _EMAIL.fullmatch(address) or len(address) > MAX_EMAIL:
        raise invalid("must be an e-mail address, such as oncall@example.com")
    return address


def check_table(table: str) -> str:
    """Returns the text when `split_table` can read it."""
    split_table(table)
    return table


def split_table(table: str) -> tuple[str, ...]:
    """`public.flights` -> ("public", "flights"); one or two parts, the schema first.

    Names are taken exactly as written, in their case. Double quotes are only needed around a
    part that holds a dot, a blank or a quote: `public."odd.name"`.
    """
    match = _TABLE.fullmatch(table)
    if match is None:
        raise invalid(
            "must be a table name, such as flights or public.flights; "
            'a part with a dot or a blank goes in double quotes, such as public."odd.name"'
        )
    return tuple(_unquoted(part) for part in match.groups() if part is not None)


def _unquoted(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def _repaired(name: str, keep: str = "") -> str | None:
    return re.sub(rf"[^A-Za-z0-9_{keep}-]+", "_", name.strip()).strip("_") or None
