"""Types that a table made here needs: which are here, and what creates the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column, NativeType
from dsp_airflow.engine.stores.postgres import kinds
from dsp_airflow.engine.stores.postgres.query import Connection


def types(connection: Connection, columns: Sequence[Column]) -> tuple[list[Column], list[str]]:
    """The columns in this database's own words, and the DDL of the types that it lacks.

    Raises ``ConfigError`` for a type that is here in another form, or takes more than one
    statement to create. The search path has to be empty.
    """
    wanted = {kind.name: kind for column in columns for kind in column.needs}
    found = kinds.found_in(connection, list(wanted.values()))
    statements, why = [], []
    for name, kind in wanted.items():
        users = ", ".join(c.name for c in columns if kind in c.needs)
        if name in found:
            here, identity = found[name]
            if identity != kind.identity:
                why.append(
                    f"type {here} exists in the target with other labels or parts ({identity}); "
                    f"column {users} needs {kind.identity}"
                )
        elif kind.extension is not None or not kind.simple:
            why.append(
                f"column {users} needs {name}, which the target lacks; run there: {kind.statement}"
            )
        elif (schema := _missing_schema(connection, kind)) is not None:
            why.append(
                f"column {users} needs type {name}; create schema {schema!r} in the target, or the "
                "type yourself"
            )
        else:
            statements.append(kind.statement)
    if why:
        raise ConfigError("; ".join(why))
    # An extension may live in another schema here.
    moved = {name: here for name, (here, _) in found.items() if here != name}
    return [_renamed(column, moved) for column in columns], [
        _in_words(statement, moved) for statement in statements
    ]


def _missing_schema(connection: Connection, kind: NativeType) -> str | None:
    row = connection.execute(
        "SELECT parts[1] FROM parse_ident(%s) AS parts "
        "WHERE NOT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = parts[1])",
        (kind.name,),
    ).fetchone()
    return None if row is None else str(row[0])


def _renamed(column: Column, moved: dict[str, str]) -> Column:
    for name, here in moved.items():
        if column.native.startswith(name):
            return replace(column, native=here + column.native[len(name) :])
    return column


def _in_words(statement: str, moved: dict[str, str]) -> str:
    for name, here in moved.items():
        statement = statement.replace(name, here)
    return statement
