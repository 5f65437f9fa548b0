"""``dsp audit``: who did what to what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dsp_airflow.cli import output
from dsp_airflow.engine.errors import ConfigError, Mismatch

if TYPE_CHECKING:
    from dsp_airflow.state.audit import Entry
    from dsp_airflow.state.database import StateDatabase

_SHOWN = 100
"""Characters of a change that a person is shown; ``--json`` gives all of it."""


def list_records(
    *,
    since: str | None,
    actor: str | None,
    action: str | None,
    of: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """The youngest records that fit."""
    output.stdout()
    from dsp_airflow.state.audit import Wanted, document, recent
    from dsp_airflow.state.database import open_state

    with open_state(create=True) as database:
        wanted = Wanted(_moment(database, since), actor, _actions(action), of)
        found = recent(database, wanted, limit)
    if as_json:
        output.write_json({"records": [document(one) for one in found]})
        return
    if not found:
        output.write("no records")
        return
    rows = [
        (one.seq, one.recorded_at, one.actor, one.action, one.object, _change(one)) for one in found
    ]
    heads = ("number", "at (UTC)", "by", "action", "of", "change")
    output.console().print(output.table("", heads, rows, right=("number",)))


def verify(*, as_json: bool) -> None:
    """What was done to the audit since it was written."""
    output.stdout()
    from dsp_airflow.state import audit
    from dsp_airflow.state.database import open_state

    with open_state(create=True) as database:
        # In this order: what is told as the head is among what was verified.
        head = audit.head(database)
        found = audit.verify(database)
    if as_json:
        output.write_json({"head": None if head is None else asdict(head), "problems": found})
    else:
        for one in found:
            output.write(one)
        if not found and head is not None:
            output.write(f"{head.seq:,} records, each as it was written; the head is {head.hash}")
    if found:
        raise Mismatch(
            f"the audit is not as it was written: {len(found)} findings; see docs/operations.md"
        )


def export(
    file: str, *, since: str | None, actor: str | None, action: str | None, of: str | None
) -> None:
    """One line a record that fits. A file appears under its name only when it is whole."""
    output.stdout()
    from dsp_airflow.state.audit import Wanted, lines
    from dsp_airflow.state.database import open_state
    from dsp_airflow.state.new_file import new_file

    with open_state(create=True) as database:
        wanted = Wanted(_moment(database, since), actor, _actions(action), of)
        records = lines(database, wanted)
        if file == "-":
            for line in records:
                output.stdout().write(line)
            return
        count = 0
        with new_file(Path(file)) as stream:
            for count, line in enumerate(records, 1):  # noqa: B007 - told below
                stream.write(line.encode())
    output.write(f"{file}: {count:,} records")


def _actions(action: str | None) -> tuple[str, ...]:
    return () if action is None else (action,)


def _moment(database: StateDatabase, since: str | None) -> datetime | None:
    from dsp_airflow.config.scalars import parse_duration

    if since is None:
        return None
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        try:
            return database.now() - parse_duration(since)
        except (ValueError, OverflowError) as error:
            raise ConfigError(
                f"--since {since!r} is neither a time such as 2026-12-01T08:00 nor an age such as "
                "24h"
            ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _change(one: Entry) -> str:
    """What differs between before and after, in a line."""
    before = one.before if isinstance(one.before, Mapping) else {}
    after = one.after if isinstance(one.after, Mapping) else {}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    parts = [f"{name}: {_text(before.get(name))} -> {_text(after.get(name))}" for name in names]
    line = "; ".join(parts)
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."


def _text(value: object) -> str:
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
