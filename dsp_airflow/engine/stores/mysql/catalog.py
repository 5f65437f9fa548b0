"""What the catalog says of a table."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column, Kind, Shape
from dsp_airflow.engine.resolved import Resolved
from dsp_airflow.engine.stores.mysql import dialect, kinds, names
from dsp_airflow.engine.stores.mysql.keys import Keys
from dsp_airflow.engine.stores.mysql.login import is_mariadb
from dsp_airflow.engine.stores.mysql.query import Connection, one, texts

FOREIGN: Final = frozenset(["FEDERATED", "CONNECT", "SPIDER", "SPHINX"])
"""Engines whose rows stand on another server."""

_GENERATED: Final = re.compile(r"\b(?:VIRTUAL|STORED|PERSISTENT)\b")
_CLOCK: Final = re.compile(
    r"\(?(?:now|current_timestamp|localtimestamp|localtime)(?:\((\d*)\))?\)?", re.IGNORECASE
)
_PLAIN_DEFAULT: Final = re.compile(r"'(?:[^'\\]|''|\\.)*'|-?\d+(?:\.\d+)?|b'[01]*'|x'[0-9a-f]*'")

COLUMNS: Final = """
SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, DATETIME_PRECISION, COLLATION_NAME, IS_NULLABLE,
       COLUMN_DEFAULT, EXTRA, GENERATION_EXPRESSION
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {name}
ORDER BY ORDINAL_POSITION
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A table as the catalog lists it."""

    schema: str
    name: str
    type: str
    engine: str
    options: str

    @property
    def kind(self) -> Kind:
        """What it is to a reader and a writer."""
        if self.type in ("VIEW", "SYSTEM VIEW"):
            return "view"
        if self.engine.upper() in FOREIGN:
            return "foreign table"
        return "partitioned table" if "partitioned" in self.options else "table"


def find(connection: Connection, table: str) -> Found | None:
    """The table of this name, as written in a task file or quoted; ``None`` when there is none."""
    schema, name = names.split_name(table)
    if schema is None:
        schema = texts(connection, "SELECT DATABASE()")[0][0]
        if schema is None:
            raise ConfigError(
                f"table {table!r} needs a schema: the connection names none; write schema.{table}"
            )
    # The catalog compares without case; tables of such names are told apart on most servers.
    rows = texts(
        connection,
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE, ''), "
        "COALESCE(CREATE_OPTIONS, '') FROM information_schema.TABLES "
        f"WHERE TABLE_SCHEMA = {names.text_literal(schema)} "
        f"AND TABLE_NAME = {names.text_literal(name)} AND (@@lower_case_table_names <> 0 "
        f"OR CAST(TABLE_NAME AS BINARY) = CAST({names.text_literal(name)} AS BINARY))",
    )
    return Found(*map(str, rows[0])) if rows else None


def resolved(connection: Connection, table: str) -> Resolved:
    """See ``resolved.Resolves``."""
    found = find(connection, table)
    default, folded = texts(connection, "SELECT DATABASE(), @@lower_case_table_names")[0]
    folds = str(folded) != "0"
    if found is not None:
        return Resolved(found.schema, found.name, folds)
    schema, name = names.split_name(table)
    return Resolved(schema or str(default), name, folds)


def describe(connection: Connection, table: str) -> Shape | None:
    """The table's shape."""
    found = find(connection, table)
    if found is None:
        return None
    where = {
        "schema": names.text_literal(found.schema),
        "name": names.text_literal(found.name),
    }
    mariadb = is_mariadb(connection)
    checked = _json_checked(connection, found) if mariadb else frozenset()
    rows = texts(connection, COLUMNS.format(**where))
    columns = [_column(row, mariadb=mariadb, json=row[0] in checked) for row in rows]
    keys = Keys(
        connection,
        found.schema,
        found.name,
        {c.name for c in columns if not c.nullable},
        {c.name: c.native for c in columns},
    )
    view = found.kind == "view"
    return Shape(
        found.schema,
        found.name,
        tuple(columns),
        keys.primary,
        unique=tuple(keys.unique),
        kind=found.kind,
        parts=_parts(connection, where) if found.kind == "partitioned table" else 0,
        unusable=tuple(keys.unusable),
        indexed=None if view else tuple(keys.indexed),
        dated="no",
        numbered=next((str(r[0]) for r in rows if "auto_increment" in str(r[7]).lower()), None),
    )


def _parts(connection: Connection, where: dict[str, str]) -> int:
    found = one(
        connection,
        "SELECT COUNT(*) FROM information_schema.PARTITIONS "
        "WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {name}".format(**where),
    )
    return int(found[0] or 0)


def _json_checked(connection: Connection, found: Found) -> frozenset[str | None]:
    """Columns that a check keeps to JSON: what MariaDB makes of the type JSON."""
    rows = texts(
        connection,
        "SELECT CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS "
        f"WHERE CONSTRAINT_SCHEMA = {names.text_literal(found.schema)} "
        f"AND TABLE_NAME = {names.text_literal(found.name)}",
    )
    return frozenset(
        name for name, clause in rows if clause == f"json_valid({dialect.quote(str(name))})"
    )


def _column(row: tuple[str | None, ...], *, mariadb: bool, json: bool) -> Column:
    name, data_type, column_type, digits, collation, nullable, default, extra, generation = row
    kind = kinds.logical(
        str(column_type), str(data_type), digits=int(digits) if digits else None, json=json
    )
    generated = _GENERATED.search(str(extra)) is not None
    given = not generated and default is not None and not (mariadb and default == "NULL")
    words = str(extra).lower()
    # Bytes and characters of four of them are not told as they are.
    told = kind.name != "bytes" and "?" not in str(default)
    if collation is not None and kind.name in ("json", "other", "uuid"):
        collation = None
    return Column(
        name=str(name),
        type=kind,
        # What MariaDB makes of JSON; made anew by that name it has its check again.
        native="json" if json else kinds.spelled(str(column_type)),
        nullable=nullable == "YES",
        default=_default(str(default), words, mariadb=mariadb) if given and told else None,
        generated=generated,
        collation=collation,
        deterministic=collation is None or exact(collation),
        wide=kinds.wide(str(data_type)),
        required=nullable == "NO" and not given and not generated and "auto_increment" not in words,
        generation=(generation or None) if generated else None,
    )


def exact(collation: str) -> bool:
    """Whether texts are equal under it only if all their characters are, blanks included."""
    return collation == "binary" or collation.endswith(("_nopad_bin", "_0900_bin"))


def _default(text: str, extra: str, *, mariadb: bool) -> str | None:
    """SQL of a default that means the same in a table created elsewhere."""
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        return f"CURRENT_TIMESTAMP({clock[1]})" if clock[1] else "CURRENT_TIMESTAMP"
    if mariadb or text.startswith("b'"):
        return text if _PLAIN_DEFAULT.fullmatch(text) else None
    # Here a constant stands in the catalog without its quotes.
    return None if "default_generated" in extra else names.text_literal(text)


def nearest(connection: Connection, table: str) -> list[str]:
    """Names of existing tables that look like this one, for an error message."""
    rows = texts(
        connection,
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN "
        "('mysql', 'sys', 'information_schema', 'performance_schema') LIMIT 5000",
    )
    known = [f"{schema}.{name}" for schema, name in rows]
    return difflib.get_close_matches(table, known, n=3, cutoff=0.5) or difflib.get_close_matches(
        table.rsplit(".", maxsplit=1)[-1], [str(name) for _, name in rows], n=3, cutoff=0.6
    )


def share_rows(connection: Connection, table: str, other: str) -> bool:
    """See ``ports.Reads``. A partition has no name of its own here, and no view is purged."""
    ours, theirs = find(connection, table), find(connection, other)
    if ours is None or theirs is None:
        return False
    if ours == theirs:
        return True
    return any(_merges(connection, one, two) for one, two in ((ours, theirs), (theirs, ours)))


def _merges(connection: Connection, whole: Found, part: Found) -> bool:
    """Whether the one is a MERGE table over the other."""
    if whole.engine.upper() != "MRG_MYISAM":
        return False
    name = f"{dialect.quote(whole.schema)}.{dialect.quote(whole.name)}"
    statement = str(texts(connection, f"SHOW CREATE TABLE {name}")[0][1])
    return dialect.quote(part.name) in statement.partition("UNION=")[2]


def typed(connection: Connection, shape: Shape, expressions: Sequence[str]) -> list[Column]:
    """See ``ports.Reads``. The statement's metadata tell; no row is read."""
    return [_typed(connection, shape, expression) for expression in expressions]


def _typed(connection: Connection, shape: Shape, expression: str) -> Column:
    connection.query(
        f"SELECT ({expression}), CHARSET(({expression})) FROM (SELECT 1) AS once "
        f"LEFT JOIN {dialect.qualified(shape)} ON FALSE LIMIT 1".encode()
    )
    result = connection.store_result()
    (_, code, _, length, _, decimals, _), _ = result.describe()
    flags = result.field_flags()[0]
    charset = result.fetch_row()[0][1]
    binary = charset in (b"binary", "binary")
    native = kinds.of_metadata(code, flags, length, decimals, binary=binary)
    kind = kinds.logical(native, names.base(native), digits=decimals, json=False)
    return Column(expression, kind, native, wide=kinds.wide(names.base(native)))
