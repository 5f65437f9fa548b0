"""One meaning on all systems: the same rules over the same rows, beside a plain evaluation."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
from bson import Binary, Decimal128
from psycopg.conninfo import conninfo_to_dict

from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.engine import mapping
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.mongodb import query
from dsp_airflow.engine.stores.mongodb.store import MongoStore
from dsp_airflow.engine.stores.mysql.store import MySqlStore
from dsp_airflow.engine.stores.postgres import PostgresStore
from tests.conftest import NewDatabase
from tests.engine.harness import Bench
from tests.servers import Database, MongoDatabase, MySQLDatabase
from tests.share import share

Row = dict[str, Any]
START: Final = datetime(2024, 2, 28, 23, 59, 59, 999_000, tzinfo=UTC)
TEXTS: Final = [
    *("", " ", "a", "A", "a ", "ab", "aB", "Ab", "á", "a\u0301", "ä", "ß", "ss", "z", "Z", "é"),
    *("100%", "100", "1_0", "110", "a|b", "a\\b", "a\\%b", "%", "_", "|", "\\", "'", '"', "a.b"),
    *("a\nb", "\n", "a\n", "😀", "a😀b", "aéb", "\ufffd", "日本", "[a]", "(a)*", "^a$", "now"),
]
LATIN: Final = [None, "", "a", "A", "é", "É", "ß", "z", "100%"]
"""In a char(8), which has no blanks at its end."""
NUMBERS: Final = [None, 0, 1, -1, 2, 10, 2**31 - 1, -(2**31)]
DECIMALS: Final = [
    None, *map(Decimal, ("0", "0.1", "0.100", "-0.5", "1", "1.005", "99999.999", "-1")),
]  # fmt: skip
FLOATS: Final = [None, 0.0, 0.1, -0.5, 1.0, 1e300, -1e300, 5e-324, 0.30000000000000004]
DAYS: Final = [None, *(date(2024, 2, 28) + timedelta(days=n) for n in range(-1, 4))]
MOMENTS: Final = [None, *(START + timedelta(milliseconds=n) for n in (0, 1, 2, 1000, -86_400_000))]
IDS: Final = [None, *(UUID(int=n << 96 | n) for n in (1, 2, 0xFFFFFFFF))]


def rows() -> list[Row]:
    """Every text, and every value of the other columns with it in turn."""
    return [
        {
            "id": n,
            "text": None if n % 11 == 10 else TEXTS[n % len(TEXTS)],
            "latin": LATIN[n % len(LATIN)],
            "number": NUMBERS[n % len(NUMBERS)],
            "exact": DECIMALS[n % len(DECIMALS)],
            "rough": FLOATS[n % len(FLOATS)],
            "flag": (None, True, False)[n % 3],
            "day": DAYS[n % len(DAYS)],
            "at": MOMENTS[n % len(MOMENTS)],
            "who": IDS[n % len(IDS)],
        }
        for n in range(2 * len(TEXTS))
    ]


ROWS: Final = rows()
EQUAL: Final = ("=", "!=", "in", "not_in")
SORTED: Final = (*EQUAL, "<", "<=", ">", ">=", "between")
OPERATORS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("text", "latin"), (*SORTED, "like", "starts_with", "contains")),
    **dict.fromkeys(("id", "number", "exact", "rough", "day", "at"), SORTED),
    **dict.fromkeys(("flag", "who"), EQUAL),
}
VARIABLES: Final[Mapping[str, Any]] = {
    "moment": START + timedelta(microseconds=500),
    "day": date(2024, 2, 29),
    "word": "a%",
    "few": 1,
}


# What rules mean.


def truth(tree: Any, row: Row) -> bool | None:
    """True, false, or neither."""
    if "not" in tree:
        found = truth(tree["not"], row)
        return None if found is None else not found
    if "all" in tree or "any" in tree:
        word = "all" if "all" in tree else "any"
        parts = [truth(part, row) for part in tree[word]]
        deciding = word == "any"
        if deciding in parts:
            return deciding
        return None if None in parts else not deciding
    return rule(tree["operator"], row[tree["column"]], tree.get("value"))


def rule(operator: str, have: Any, value: Any) -> bool | None:
    if operator in ("is_null", "is_not_null"):
        return (have is None) is (operator == "is_null")
    if have is None:
        return None
    values = [resolved(one, have) for one in (value if isinstance(value, list) else [value])]
    have = comparable(have, have)
    signs: dict[str, Callable[[], bool]] = {
        "=": lambda: have == values[0],
        "!=": lambda: have != values[0],
        "<": lambda: have < values[0],
        "<=": lambda: have <= values[0],
        ">": lambda: have > values[0],
        ">=": lambda: have >= values[0],
        "in": lambda: have in values,
        "not_in": lambda: have not in values,
        "between": lambda: values[0] <= have <= values[1],
        "starts_with": lambda: have.startswith(values[0]),
        "contains": lambda: values[0] in have,
        "like": lambda: re.fullmatch(like(values[0]), have, re.DOTALL) is not None,
    }
    return signs[operator]()


def resolved(value: Any, have: Any) -> Any:
    if isinstance(value, str) and value.startswith(":") and value[1:] in VARIABLES:
        value = VARIABLES[value[1:]]
    elif isinstance(value, str) and value.startswith("::"):
        value = value[1:]
    return comparable(value, have)


def comparable(value: Any, have: Any) -> Any:
    if isinstance(have, UUID):
        return str(value)
    if isinstance(have, Decimal) and isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(have, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def like(pattern: str) -> str:
    def piece(match: re.Match[str]) -> str:
        sign = match[0]
        if sign in "%_":
            return ".*" if sign == "%" else "."
        return re.escape(sign.removeprefix("\\") or "\\")

    return re.sub(r"\\.|.", piece, pattern, flags=re.DOTALL)


# Rules by chance.


def a_tree(chance: random.Random, depth: int = 3) -> Any:
    word = chance.choice(["all", "any", "not", "rule", "rule"] if depth else ["rule"])
    if word == "not":
        return {"not": a_tree(chance, depth - 1)}
    if word in ("all", "any"):
        return {word: [a_tree(chance, depth - 1) for _ in range(chance.randint(1, 3))]}
    return a_rule(chance)


def a_rule(chance: random.Random) -> Any:
    column = chance.choice(list(OPERATORS))
    operator = chance.choice((*OPERATORS[column], "is_null", "is_not_null"))
    if operator in ("is_null", "is_not_null"):
        return {"column": column, "operator": operator}
    if operator in ("in", "not_in", "between"):
        count = 2 if operator == "between" else chance.randint(1, 4)
        given: Any = [a_value(chance, column) for _ in range(count)]
    elif operator == "like":
        given = ":word" if chance.random() < 0.1 else a_pattern(chance)
    elif operator in ("starts_with", "contains"):
        given = chance.choice([text for text in TEXTS if text])
    else:
        given = a_value(chance, column)
    return {"column": column, "operator": operator, "value": given}


def a_value(chance: random.Random, column: str) -> Any:
    if column in ("day", "at") and chance.random() < 0.3:
        return chance.choice([":moment", ":day"])
    if column == "number" and chance.random() < 0.2:
        return chance.choice([":few", 0.5, 10**20])
    if column == "exact" and chance.random() < 0.3:
        return chance.choice([0.1, 1, 1.005, -0.5])
    if column == "latin" and chance.random() < 0.1:
        return chance.choice(["a ", "日本", "ss"])
    values = [row[column] for row in ROWS if row[column] is not None]
    value = chance.choice(values)
    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, UUID) else value


def a_pattern(chance: random.Random) -> str:
    text = chance.choice(TEXTS)
    found = "".join(
        chance.choice(["%", "_"])
        if chance.random() < 0.25
        else f"\\{char}"
        if char in "\\%_" or chance.random() < 0.05
        else char
        for char in text
    )
    return found + chance.choice(["", "%"]) or "%"


# The systems.


def on_postgres(database: Database, collation: str) -> Store:
    database.execute(
        f"""CREATE TABLE t (id int PRIMARY KEY, text text COLLATE "{collation}", latin char(8),
        number int, exact numeric(12,3), rough float8, flag bool, day date, at timestamptz(3),
        who uuid)"""
    )
    with database.connect() as connection, connection.cursor() as cursor:
        marks = ", ".join(["%s"] * len(ROWS[0]))
        statement = f"INSERT INTO t VALUES ({marks})"
        cursor.executemany(statement.encode(), [tuple(row.values()) for row in ROWS])
    return PostgresStore("pg", conninfo_to_dict(database.uri))


def on_mysql(database: MySQLDatabase) -> Store:
    database.execute(
        """CREATE TABLE t (id int PRIMARY KEY, text varchar(80) CHARACTER SET utf8mb4,
        latin char(8) CHARACTER SET latin1, number int, exact decimal(12,3), rough double,
        flag tinyint(1), day date, at timestamp(3) NULL, who varchar(36))"""
    )
    store = MySqlStore("my", database.arguments)
    names = ", ".join(ROWS[0])
    marks = ", ".join(["%s"] * len(ROWS[0]))
    with closing(database.connect(charset="utf8mb4")) as connection:
        cursor = connection.cursor()
        cursor.execute("SET time_zone = '+00:00'")
        for row in ROWS:
            values = [str(v) if isinstance(v, UUID) else v for v in row.values()]
            values = [v.replace(tzinfo=None) if isinstance(v, datetime) else v for v in values]
            cursor.execute(f"INSERT INTO t ({names}) VALUES ({marks})", values)
        connection.commit()
    return store


def on_mongo(database: MongoDatabase) -> Store:
    for row in ROWS:
        found = {name: in_bson(value) for name, value in row.items() if name != "id"}
        # Missing is NULL, too.
        found = {n: v for n, v in found.items() if v is not None or row["id"] % 2}
        database["t"].insert_one({"_id": row["id"], "id": row["id"], **found})
    return MongoStore("mongo", {"host": database.server.uri()}, database.name)


def in_bson(value: Any) -> Any:
    match value:
        case Decimal():
            return Decimal128(value)
        case UUID():
            return Binary.from_uuid(value)
        case date() if not isinstance(value, datetime):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        case _:
            return value


COLUMNS: Final = [
    {"source": "_id", "target": "key", "type": "int32"},
    {"source": "exact", "type": "decimal(12,3)"},
    {"source": "who", "type": "uuid"},
    {"source": "day", "type": "date"},
]
"""Of documents: types that values alone do not tell."""


def job(where: Any, **more: Any) -> WarmJob:
    ends = {"source": {"connection": "a", "table": "t"}, "target": {"connection": "b"}}
    used = {name: 0 for name in re.findall(r"':(\w+)'", str(where)) if name in VARIABLES}
    values = {"name": "j", "type": "warm", **ends, **more, "where": where, "variables": used}
    return WarmJob.model_validate(values)


def conditions(store: Store, trees: Iterable[Any], **more: Any) -> list[str]:
    with store.session() as session:
        shape = session.describe("t")
        assert shape is not None
        found = [
            mapping.rendered_filter(job(tree, **more), shape, store.dialect, VARIABLES)
            for tree in trees
        ]
    return [one for one in found if one is not None]


def in_sql(run: Callable[[str], Iterable[Any]], wheres: list[str]) -> Iterator[set[int]]:
    for first in range(0, len(wheres), 40):
        some = wheres[first : first + 40]
        parts = [f"SELECT {n}, id FROM t WHERE {where}" for n, where in enumerate(some)]
        found: list[set[int]] = [set() for _ in some]
        for n, number in run(" UNION ALL ".join(parts)):
            found[n].add(number)
        yield from found


def test_the_same_rules_choose_the_same_rows(
    pg15_db: Database, my_db: MySQLDatabase, mongo_db: MongoDatabase
) -> None:
    chance = random.Random(20241129)
    trees: list[Any] = [
        {"column": column, "operator": operator, "value": [text] if operator == "in" else text}
        for text in TEXTS
        for column in ("text", "latin")
        for operator in ("=", "in", "<", "contains")
        if text or operator != "contains"
    ]
    trees += [a_rule(chance) for _ in range(share(2_000, 100))]
    trees += [{"not": tree} for tree in trees]
    trees += [a_tree(chance) for _ in range(share(3_000, 200))]
    wanted = [{row["id"] for row in ROWS if truth(tree, row)} for tree in trees]
    # Neither of a rule and its opposite is true of NULL, and never both.
    assert sum(map(len, wanted)) > len(trees)

    def same(system: str, found: Iterable[set[int]]) -> None:
        for tree, have, want in zip(trees, found, wanted, strict=True):
            odd = [row for row in ROWS if row["id"] in have ^ want][:2]
            assert have == want, f"{system}: {tree}: {odd}"

    with psycopg.connect(pg15_db.uri) as connection:
        connection.execute(
            "SET TimeZone = 'UTC'; CREATE COLLATION caseless "
            "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
        connection.commit()
        for collation in ("und-x-icu", "caseless"):
            wheres = conditions(on_postgres(pg15_db, collation), trees)
            same("postgres", in_sql(lambda sql: connection.execute(sql.encode()), wheres))
            connection.commit()
            pg15_db.execute("DROP TABLE t")
    wheres = conditions(on_mysql(my_db), trees)
    with closing(my_db.connect(charset="utf8mb4")) as other:
        cursor = other.cursor()
        cursor.execute("SET time_zone = '+00:00'")

        def run(sql: str) -> Any:
            cursor.execute(sql)
            return cursor.fetchall()

        same("mysql", in_sql(run, wheres))
    wheres = conditions(on_mongo(mongo_db), trees, columns=COLUMNS)
    same(
        "mongodb",
        (
            {found["_id"] for found in mongo_db["t"].find(query.parsed(w), {"_id": 1})}
            for w in wheres
        ),
    )


WHERE: Final = {
    "all": [
        {"column": "id", "operator": "<=", "value": ":top"},
        {"column": "name", "operator": "like", "value": "_\\%%\\\\'|"},
        {"not": {"column": "id", "operator": "in", "value": [3, 5]}},
    ]
}
"""Signs that mean something to the pattern, the quotes, the driver, and what stands between."""


def test_copied_proved_and_purged_by_rules(
    tmp_path: Path, my_db: MySQLDatabase, new_pg_db: NewDatabase
) -> None:
    """There and back: a row that leaves the rules before the purge stays."""
    pg, other = new_pg_db(), new_pg_db()
    names = [(n, ("x%yz\\'|", "X%\\'|", "x_\\'|", "xx%\\'|")[n % 4]) for n in range(1, 13)]
    for database in (pg, my_db):
        database.execute("CREATE TABLE t (id int PRIMARY KEY, name varchar(20))")
    with pg.connect() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", names)
    left = [(n, name) for n, name in names if not (n <= 9 and n % 4 in (0, 1) and n != 5)]
    ends: list[tuple[Any, Any]] = [(pg, my_db), (my_db, other)]
    for number, (source, target) in enumerate(ends):
        folder = tmp_path / str(number)
        folder.mkdir()
        bench: Bench[Any] = Bench(folder, source, target)
        more: dict[str, Any] = {"purge": "system", "batch_size": 2, "check": {"percent": 100}}
        bench.write(bench.job(table="t", where=WHERE, variables={"top": 9}, **more))
        (found,) = bench.run().jobs
        # 1, 4, 8 and 9; on the way back they are all that is there.
        assert (found.rows_written, found.rows_checked, found.rows_purged) == (4, 4, 4)
    assert pg.rows("SELECT * FROM t ORDER BY id") == left
    assert my_db.value("SELECT count(*) FROM t") == 0
    assert [n for (n,) in other.rows("SELECT id FROM t ORDER BY id")] == [1, 4, 8, 9]


def test_types_that_are_texts_or_numbers_at_heart(pg15_db: Database, my_db: MySQLDatabase) -> None:
    """Labels sort as texts, and one that there is not is no error."""
    pg15_db.execute(
        "CREATE EXTENSION citext",
        "CREATE TYPE mood AS ENUM ('z', 'a')",
        "CREATE DOMAIN word AS text",
        "CREATE TABLE t (id int PRIMARY KEY, label mood, word word, caseless citext, name char(9), "
        "small smallint, rough real)",
        "INSERT INTO t VALUES (1, 'z', 'A', 'A', 'A', 7, 0.5), (2, 'a', 'a', 'a', 'a', 8, 'NaN')",
    )
    my_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, label ENUM('z', 'a'), word SET('A', 'b'), "
        "caseless TEXT, name VARCHAR(9) CHARACTER SET ucs2, small YEAR, rough FLOAT)",
        "INSERT INTO t VALUES (1, 'z', 'A,b', 'A', 'A', 2007, 0.5), "
        "(2, 'a', '', 'a', 'a', 2008, 1)",
    )

    def both(rule: dict[str, Any]) -> tuple[list[int], list[int]]:
        [mine] = conditions(PostgresStore("pg", conninfo_to_dict(pg15_db.uri)), [rule])
        [other] = conditions(MySqlStore("my", my_db.arguments), [rule])
        queries = [f"SELECT id FROM t WHERE {where} ORDER BY id" for where in (mine, other)]
        return (
            [n for (n,) in pg15_db.rows(queries[0])],
            [n for (n,) in my_db.rows(queries[1])],
        )

    def of(column: str, operator: str, value: Any) -> dict[str, Any]:
        return {"column": column, "operator": operator, "value": value}

    assert both(of("label", "<", "b")) == ([2], [2])
    assert both(of("label", "in", ["nothing", "z"])) == ([1], [1])
    assert both(of("label", "starts_with", "z")) == ([1], [1])
    for column in ("caseless", "name"):
        assert both(of(column, "=", "a")) == ([2], [2]), column
        assert both({"not": of(column, "like", "A")}) == ([2], [2]), column
    assert both(of("word", "contains", "A")) == ([1], [1])
    assert both(of("small", ">", 7.5)) == ([2], [1, 2])
    assert both(of("rough", ">", 0.5)) == ([2], [2])
