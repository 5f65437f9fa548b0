"""A table that is made here: its types, collations and sizes, and whether the server takes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import MySQLdb

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column, Shape
from dsp_airflow.engine.stores.mysql import dialect, kinds, names, probe, translate
from dsp_airflow.engine.stores.mysql.catalog import exact
from dsp_airflow.engine.stores.mysql.login import is_mariadb
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, texts

TRIED: Final = "dsp_tried"
"""A TEMPORARY table of the session, gone before anybody could look for it."""


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
    made = _known_types(connection, columns)
    made = [collations.fitted(c, key=c.name in key) for c in made]
    made = _row_sized(_key_sized(made, key), key)
    for each in (name, *(c.name for c in made)):
        if len(each) > names.LONGEST:
            raise ConfigError(
                f"target {table}: MySQL names have at most {names.LONGEST} characters, {each!r} "
                f"has {len(each)}; choose a shorter one"
            )
    order = tuple(c.name for k in key for c in made if c.name == k)
    unique = (tuple(key),) if key else ()
    shape = Shape(schema, name, tuple(made), order, unique, dated="no")
    _try(connection, shape)
    return shape, dialect.create_table(shape)


def _try(connection: Connection, shape: Shape) -> None:
    """Makes it for this session alone: what the server does not take fails here, in the plan."""
    name = f"{dialect.quote(shape.schema)}.{dialect.quote(TRIED)}"
    try:
        execute(connection, dialect.temporary_table(shape, name))
    except MySQLdb.Error as error:
        # Whoever lacks this privilege is told of it with all that is lacking.
        if translate.number(error) not in probe.DENIED:
            raise
    else:
        execute(connection, f"DROP TEMPORARY TABLE {name}")


SINCE: Final[Mapping[str, Mapping[str, tuple[int, int]]]] = {
    "MariaDB": {"inet6": (10, 5), "uuid": (10, 7), "inet4": (10, 10), "vector": (11, 7)},
    "MySQL": {"vector": (9, 0)},
}
"""Types that not every server has, and the version that brought each."""
_VERSION: Final = re.compile(r"(?:5\.5\.5-)?(\d+)\.(\d+)")


def _known_types(connection: Connection, columns: Sequence[Column]) -> list[Column]:
    """With a type that holds the same values for each that this server lacks."""
    product = "MariaDB" if is_mariadb(connection) else "MySQL"
    found = _VERSION.match(str(one(connection, "SELECT VERSION()")[0]))
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    special = {word for since in SINCE.values() for word in since}
    missing = {w for w in special if version < SINCE[product].get(w, (version[0] + 1, 0))}
    return [_plainly_typed(c) if names.base(c.native) in missing else c for c in columns]


def _plainly_typed(column: Column) -> Column:
    # The default is written in the words of the type.
    native, kind = kinds.native(column.type), kinds.held(column.type)
    return replace(column, native=native, type=kind, default=None)


KEY_BYTES: Final = 3072
"""Of an index over all its columns."""
LONGEST_KEY: Final = {"string": 255, "bytes": 1024}
"""Characters and bytes of a key column of a type without a length."""
SMALL: Final = 16
"""Bytes of a number, a time or the like in an index, about."""


def _key_sized(columns: list[Column], key: Sequence[str]) -> list[Column]:
    """A key column needs a length; those without one share what room an index has."""
    wanting = [c for c in columns if c.name in key and _endless(c)]
    taken = sum(_most(c) or SMALL for c in columns if c.name in key and c not in wanting)
    share = max(KEY_BYTES - taken, 0) // max(len(wanting), 1)
    return [_lengthened(c, share) if c in wanting else c for c in columns]


def _endless(column: Column) -> bool:
    return kinds.wide(names.base(column.native)) and column.type.name in LONGEST_KEY


def _lengthened(column: Column, share: int) -> Column:
    text = column.type.name == "string"
    length = max(1, min(LONGEST_KEY[column.type.name], (share - 2) // _each(column)))
    native = f"varchar({length})" if text else f"varbinary({length})"
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
    return length * _each(column) + 2


def _each(column: Column) -> int:
    """Bytes of one character at most."""
    if column.type.name == "bytes":
        return 1
    return _CHARACTER.get(str(column.collation or "utf8mb4").partition("_")[0], 4)


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
