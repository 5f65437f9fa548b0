"""Backup and restore: one JSON line per row, alike for SQLite and PostgreSQL.

So a backup also moves the state from one system to the other. The last line tells how many
rows there are and the SHA-256 of everything before it: a file that was cut or changed is
refused before anything is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from sqlalchemy import Connection, Table, func, insert, select, text

from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.state import schema
from dsp_airflow.state.clock import UtcDateTime
from dsp_airflow.state.codec import canonical
from dsp_airflow.state.database import StateDatabase, clock, open_state, upgrade
from dsp_airflow.state.new_file import new_file
from dsp_airflow.state.tables import AUDIT_HEAD, METADATA, RECEIPT_HEAD

FORMAT = 1
HEADS = {RECEIPT_HEAD.name: "receipts", AUDIT_HEAD.name: "audit"}
"""Tables that hold one row from the beginning: the ends of the chains."""
_ROWS = 500


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds."""

    path: Path
    created_at: datetime
    rows: Mapping[str, int]


def backup(url: str | None, path: Path | str) -> Backup:
    """Writes all tables as of one moment to a new file that only its owner may read.

    The file appears under its name only when it is whole. An existing one is not replaced.
    """
    target = Path(path)
    with open_state(url) as database, new_file(target) as file:
        return _export(database, file, target)


def restore_backup(path: Path | str, url: str | None = None) -> Backup:
    """Fills an empty state database, creating its tables; all rows or none.

    ``Refused`` when it holds runs or mails already, ``ConfigError`` when the file is no whole
    backup of this schema.
    """
    source = Path(path)
    try:
        with source.open("rb") as file:
            header = _checked(file, source)
            upgrade(url)
            with open_state(url) as database:
                rows = _import(database, file)
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}") from error
    return Backup(source, datetime.fromisoformat(header["created_at"]), rows)


def _export(database: StateDatabase, file: BinaryIO, path: Path) -> Backup:
    digest = hashlib.sha256()
    counts: dict[str, int] = {}

    def line(value: object) -> None:
        data = canonical(value).encode() + b"\n"
        digest.update(data)
        file.write(data)

    with database.read(snapshot=True) as connection:
        at = clock(connection)
        line({"format": FORMAT, "revision": schema.HEAD, "created_at": at.isoformat()})
        for table in METADATA.sorted_tables:
            counts[table.name] = 0
            query = select(table).order_by(*table.primary_key)
            options = {"yield_per": _ROWS}
            for row in connection.execute(query, execution_options=options):
                line([table.name, [_out(value) for value in row]])
                counts[table.name] += 1
    file.write(canonical({"rows": counts, "sha256": digest.hexdigest()}).encode() + b"\n")
    return Backup(path, at, counts)


def _checked(file: BinaryIO, path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    first = last = b""
    for data in file:
        if last:
            digest.update(last)
        first, last = first or data, data
    file.seek(0)
    try:
        header, footer = json.loads(first), json.loads(last)
        whole = footer["sha256"] == digest.hexdigest() and header["format"] == FORMAT
        revision = header["revision"]
    except (ValueError, KeyError, TypeError):
        whole, revision, header = False, None, {}
    if not whole:
        raise ConfigError(f"{path} is not a whole backup: it was cut, changed, or is another file")
    if revision != schema.HEAD:
        raise ConfigError(
            f"{path} has schema {revision}, this package needs {schema.HEAD};"
            " restore it with the package that wrote it, then run `dsp db upgrade`"
        )
    return cast("dict[str, Any]", header)


def _import(database: StateDatabase, file: BinaryIO) -> dict[str, int]:
    tables = METADATA.tables
    counts = dict.fromkeys(tables, 0)
    with database.write() as connection:
        _require_empty(connection, database.label)
        for head in HEADS:
            connection.execute(tables[head].delete())
        for name, rows in _groups(file):
            table = tables[name]
            names = [column.name for column in table.columns]
            values = [
                {n: _in(table, n, v) for n, v in zip(names, row, strict=True)} for row in rows
            ]
            connection.execute(insert(table), values)
            counts[name] += len(rows)
        for head, chain in HEADS.items():
            if counts[head] == 0:
                raise ConfigError(f"the backup lacks the head of the {chain}")
        _continue_serials(connection)
    return counts


def _groups(file: BinaryIO) -> Iterator[tuple[str, list[list[Any]]]]:
    """Rows of one table at a time, some hundred together."""
    name, rows = "", list[list[Any]]()
    for data in file:
        value = json.loads(data)
        if not isinstance(value, list):
            continue
        if value[0] != name or len(rows) == _ROWS:
            if rows:
                yield name, rows
            name, rows = value[0], []
        rows.append(value[1])
    if rows:
        yield name, rows


def _require_empty(connection: Connection, label: str) -> None:
    for table in METADATA.sorted_tables:
        if table.name in HEADS:
            continue
        if connection.execute(select(func.count()).select_from(table)).scalar_one():
            raise Refused(f"{label} is not empty ({table.name}); restore into a new database")


def _continue_serials(connection: Connection) -> None:
    """PostgreSQL numbers new rows from its sequences, which know nothing of inserted numbers."""
    if connection.dialect.name != "postgresql":
        return
    for name in ("differences", "outbox"):
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{name}', 'id'),"  # noqa: S608 - constants
                f" (SELECT coalesce(max(id), 0) + 1 FROM {name}), false)"
            )
        )


def _out(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _in(table: Table, name: str, value: Any) -> Any:
    if value is not None and isinstance(table.c[name].type, UtcDateTime):
        return datetime.fromisoformat(value)
    return value
