"""What the catalog says of a table."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column, Kind, Shape
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


def design(
    connection: Connection, table: str, columns: Sequence[Column], key: Sequence[str]
) -> tuple[Shape, tuple[str, ...]]:
    """The shape a created table will have, and the DDL that creates it."""
    schema, name = names.split_name(table)
    default, folded = one(connection, "SELECT DATABASE(), @@lower_case_table_names")
    schema = schema or default
    if schema is None:
        raise ConfigError(f"table {table!r} needs a schema: the connection names none")
    if folded == "1":
        # As the server will list it.
        schema, name = schema.lower(), name.lower()
    known = texts(
        connection,
        "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA "
        f"WHERE SCHEMA_NAME = {names.text_literal(schema)}",
    )
    if not known:
        raise ConfigError(
            f"schema {schema!r} does not exist; create it, or correct the target table {table!r}"
        )
    collations = _Collations(connection, str(known[0][0]))
    made = [collations.fitted(c, key=c.name in key) for c in columns]
    made = [_key_sized(c) if c.name in key else c for c in made]
    made = _row_sized(made, key)
    for each in (name, *(c.name for c in made)):
        if len(each) > names.LONGEST:
            raise ConfigError(
                f"target {table}: MySQL names have at most {names.LONGEST} characters, {each!r} "
                f"has {len(each)}; choose a shorter one"
            )
    order = tuple(c.name for k in key for c in made if c.name == k)
    unique = (tuple(key),) if key else ()
    shape = Shape(schema, name, tuple(made), order, unique, dated="no")
    return shape, dialect.create_table(shape)


KEY_BYTES: Final = 3072
"""Of an index over all its columns."""


def _key_sized(column: Column) -> Column:
    """A key needs a length, and so much of one as an index takes."""
    word = names.base(column.native)
    if word in ("longtext", "text", "mediumtext", "tinytext"):
        native, length = "varchar(255)", 255
    elif word in ("longblob", "blob", "mediumblob", "tinyblob"):
        native, length = "varbinary(1024)", 1024
    else:
        return column
    return replace(column, native=native, type=replace(column.type, length=length), wide=False)


ROW_BYTES: Final = 65_000
"""Of a row's columns together, those kept out of line aside; some are left for small columns."""
_CHARACTER: Final = {"latin1": 1, "ascii": 1, "utf8mb3": 3, "utf8": 3}
"""Bytes of one, where they are fewer than four."""


def _row_sized(columns: list[Column], key: Sequence[str]) -> list[Column]:
    """With the longest of the texts and bytes kept out of line, where a row had no room for all."""
    sizes = [0 if c.name in key else _most(c) for c in columns]
    total = sum(map(_most, columns))
    made = list(columns)
    for n in sorted(range(len(made)), key=lambda n: -sizes[n]):
        if total <= ROW_BYTES or not sizes[n]:
            break
        native = "longtext" if made[n].type.name == "string" else "longblob"
        kind = replace(made[n].type, length=None)
        # A long text has no constant for a default.
        made[n] = replace(made[n], native=native, type=kind, wide=True, default=None)
        total -= sizes[n]
    return made


def _most(column: Column) -> int:
    """Bytes that a text or bytes of the row may take."""
    word, length = names.base(column.native), column.type.length
    if length is None or word not in ("char", "varchar", "binary", "varbinary"):
        return 0
    charset = str(column.collation or "utf8mb4").partition("_")[0]
    each = 1 if column.type.name == "bytes" else _CHARACTER.get(charset, 4)
    return length * each + 2


class _Collations:
    """How the texts of a table made here compare."""

    def __init__(self, connection: Connection, usual: str) -> None:
        rows = texts(connection, "SELECT COLLATION_NAME FROM information_schema.COLLATIONS")
        self._known = {str(row[0]) for row in rows}
        self._usual = usual if usual.startswith("utf8mb4") else "utf8mb4_general_ci"
        choices = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")
        self._exact = next(name for name in choices if name in self._known)

    def fitted(self, column: Column, *, key: bool) -> Column:
        """The column with a collation that this server has; keys keep all texts apart."""
        if column.type.name not in ("string", "enum", "set"):
            return replace(column, collation=None, deterministic=True)
        if column.collation not in self._known:
            wanted = self._exact if key else self._usual
            column = replace(column, collation=wanted)
        return replace(column, deterministic=exact(str(column.collation)))


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
