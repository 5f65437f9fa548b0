"""Every type of PostgreSQL with values that have broken somebody's copy."""

from __future__ import annotations

from typing import Final

import psycopg

from tests.servers import Database

EXTENSIONS: Final = ("hstore", "citext", "ltree", "cube", "isn", "seg")

TYPES: Final = (
    "CREATE SCHEMA app",
    "CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'it''s, \"fine\"', '{', '')",
    "CREATE DOMAIN app.positive AS integer CHECK (VALUE > 0)",
    "CREATE DOMAIN app.tiny AS app.positive NOT NULL CHECK (VALUE < 100)",
    "CREATE DOMAIN app.price AS numeric(8,2) CHECK (VALUE >= 0)",
    "CREATE DOMAIN app.email AS citext CHECK (VALUE ~ '@')",
    "CREATE DOMAIN app.feeling AS app.mood CHECK (VALUE <> 'sad')",
    "CREATE DOMAIN app.ids AS bigint[] CHECK (cardinality(VALUE) < 9)",
    'CREATE TYPE app.point3 AS (x float8, y float8, "Z z" float8)',
    "CREATE TYPE app.line3 AS (a app.point3, b app.point3, tags text[], at timestamptz, n numeric)",
    "CREATE TYPE app.odd AS (m app.mood, h hstore, p app.positive, c citext, j jsonb, i interval)",
    "CREATE TYPE app.floats AS RANGE (subtype = float8, subtype_diff = float8mi)",
    'CREATE TYPE app.words AS RANGE (subtype = text, collation = "C")',
    "CREATE TYPE app.moods AS RANGE (subtype = app.mood)",
)
"""Made in the source only: a table created in the target brings them along."""

_N: Final = "NULL"
COLUMNS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("boolean", ("true", "false")),
    ("smallint", ("-32768", "32767", "0")),
    ("integer", ("-2147483648", "2147483647")),
    ("bigint", ("-9223372036854775808", "9223372036854775807", "-1", "4294967295")),
    ("numeric", ("1.0", "1.00", "NaN", "Infinity", "-Infinity", "1e-300", "-0.000", "1e500")),
    ("numeric(12,2)", ("NaN", "-0.01", "9999999999.99")),
    ("numeric(5,-2)", ("1234567", "-49")),
    ("numeric(2,5)", ("0.00012", "-0.00099")),
    ("real", ("NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "0.1")),
    (
        "double precision",
        ("NaN", "-Infinity", "-0", "0", "5e-324", "1.7976931348623157e308", "0.1"),
    ),
    ("money", ("-92233720368547758.08", "92233720368547758.07", "0.01", "-1.5")),
    (
        "text",
        ("", " ", "a ", "\\N", "\\.", "tab\tnl\ncr\rbs\\ \x08\x0c\x0b\x01\x7f", "é€😀", "NULL"),
    ),
    ("character varying(5)", ("", "a ", "😀😀😀😀😀")),
    ("character(5)", ("", "a ", "abcde", "  x")),
    ("character", ("", "x")),
    ("bpchar", ("", "abc   ", "x")),
    ('"char"', ("", "a", "\\", " ")),
    ("name", ("", "a b", "x" * 63, 'q"')),
    ("bytea", ("\\x", "\\x00", "\\x00ff5c270a", "\\x" + "00" * 3000)),
    (
        "date",
        ("infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "0001-01-01 BC", "2000-02-29"),
    ),
    ("time", ("24:00:00", "00:00:00", "23:59:59.999999")),
    ("time(0)", ("24:00:00", "12:00:01")),
    ("time with time zone", ("24:00:00+15:59", "12:00+00", "13:00+01", "00:00:00.000001-15:59:59")),
    ("time(3) with time zone", ("12:00:00.123+05:30",)),
    (
        "timestamp",
        (
            "infinity",
            "-infinity",
            "4713-01-01 BC",
            "294276-12-31 23:59:59.999999",
            "2000-01-01 00:00:00.000001",
        ),
    ),
    ("timestamp(3)", ("2020-02-29 23:59:59.999",)),
    (
        "timestamp with time zone",
        (
            "infinity",
            "-infinity",
            "4713-11-24 BC",
            "294276-12-31 23:59:59.999999+00",
            "2020-03-29 01:30+00",
        ),
    ),
    (
        "interval",
        (
            "1 mon",
            "30 days",
            "720:00:00",
            "-1 year 13 mons -1 day +00:00:01.000001",
            "178000000 years",
            "-178000000 years",
            "0",
        ),
    ),
    ("interval(3)", ("1.123s", "1 day -00:00:00.001")),
    ("interval year to month", ("1 year 2 mons", "-5 mons")),
    ("interval day to second(2)", ("4 days 05:06:07.89",)),
    ("uuid", ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")),
    ("json", ('{"a":1, "a": 2}', " [1.0, 1e2,\tnull]", "null", '"\\u00e9\\u0000"', "1.10")),
    ("jsonb", ('{"b":1,"a":12345678901234567890.10}', "[]", "null", "1.0", "1.00", '"é"')),
    ("jsonpath", ("$", 'strict $.a[*] ? (@.x > 1.5 && @.s starts with "q")', '$."a b".size()')),
    ("xml", ("<a/>", "text &amp; <b>x</b>", '<?xml version="1.0"?><r>é</r>', "")),
    ("bit", ("0", "1")),
    ("bit(5)", ("00000", "10101")),
    ("bit varying", ("", "0", "00", "1" * 200)),
    ("bit varying(7)", ("", "1010101")),
    ("inet", ("127.0.0.1", "127.0.0.1/8", "::1", "::ffff:1.2.3.4/128", "0.0.0.0/0", "10.1.2.3/32")),
    ("cidr", ("10.0.0.0/8", "2001:db8::/32", "1.2.3.4/32", "::/0")),
    ("macaddr", ("08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff")),
    ("macaddr8", ("08:00:2b:ff:fe:01:02:03", "00:00:00:00:00:00:00:00")),
    ("point", ("(0,-0)", "(NaN,Infinity)", "(0.1,1e-300)")),
    ("line", ("{1,2,3}", "{0,-1,0.1}")),
    ("lseg", ("[(0,0),(1,0.1)]", "[(1,0.1),(0,0)]")),
    ("box", ("(1,1),(0,0)", "(-0.1,2),(-3,-4)")),
    ("path", ("((0,0),(1,1))", "[(0,0),(1,1)]", "[(0.1,0)]")),
    ("polygon", ("((0,0),(1,1),(0,1))", "((1,1))")),
    ("circle", ("<(0,0),0>", "<(0.1,-1),2.5>")),
    ("tsvector", ("", "'a':1A,2B 'it''s' 'q w':3", "b a a")),
    ("tsquery", ("", "'a':*AB & !('b' | 'c d')", "a <-> b <3> c")),
    ("pg_lsn", ("0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848")),
    ("xid8", ("0", "18446744073709551615")),
    ("xid", ("0", "4294967295")),
    ("cid", ("0", "4294967295")),
    ("tid", ("(0,0)", "(4294967295,65535)")),
    ("oid", ("0", "4294967295", "1259")),
    ("oidvector", ("", "1 2 3")),
    ("int2vector", ("", "1 -2 3")),
    ("txid_snapshot", ("10:20:10,14,15", "1:1:")),
    ("pg_snapshot", ("10:20:10,14,15",)),
    ("int4range", ("empty", "(,)", "[1,5]", "(,5)", "[-2147483648,2147483647)")),
    ("int8range", ("empty", "[1,)", "(1,9223372036854775807)")),
    ("numrange", ("empty", "[1.0,1.00]", "(1.5,)", "[NaN,NaN]", "[-Infinity,Infinity)")),
    ("daterange", ("empty", "[2000-01-01,infinity)", "[2000-01-01,infinity]", "(-infinity,)")),
    ("tsrange", ("empty", '["2000-01-01 00:00:00.000001",infinity]', "(,)")),
    ("tstzrange", ("empty", '["2000-01-01 00:00+05",)', "[-infinity,infinity]")),
    ("int4multirange", ("{}", "{[1,3),[5,)}", "{(,)}")),
    ("nummultirange", ("{}", "{[1.0,2.50],(3,4)}")),
    ("datemultirange", ("{[2000-01-01,2000-02-01),[2001-01-01,)}",)),
    ("tsmultirange", ("{}", '{["2000-01-01 12:00","2000-01-02 13:00:00.5")}')),
    ("tstzmultirange", ("{}", '{["2000-01-01 12:00+00",)}')),
    ("refcursor", ("", "a b")),
    ("hstore", ("", '"b"=>NULL, "a"=>"NULL", ""=>"", "q\\"=>"=>"\\\\"')),
    ("citext", ("ABC", "abc", "É", "é ", "")),
    ("ltree", ("", "Top.Science.a_1")),
    ("lquery", ("*.a*@%.!b{1,2}",)),
    ("cube", ("(1,2),(3,-0)", "(0.1)", "()")),
    ("seg", ("1.50", "<2.0", "1 .. 3.00")),
    ("isbn", ("978-0-393-04002-9", "0-14-044909-4")),
    ("app.mood", ("sad", 'it\'s, "fine"', "{", "")),
    ("app.positive", ("1", "2147483647")),
    ("app.price", ("0", "999999.99")),
    ("app.email", ("Ann@X.org", "ann@x.ORG")),
    ("app.feeling", ("ok", "")),
    ("app.ids", ("{}", "{1,NULL,3}", "[0:1]={7,8}")),
    ("app.point3", ("(1,-0,NaN)", "(,,)", "(0.1,Infinity,5e-324)")),
    (
        "app.line3",
        (
            '("(1,2,3)","(,,)","{NULL,"""",""a,b"",""\\\\\\\\""}","2020-01-01 00:00+05",1.00)',
            "(,,,,)",
        ),
    ),
    ("app.odd", ('("it\'s, ""fine""","a=>b",5,ABC,"{""x"": 1.0}","1 mon 30 days")', "(,,,,,)")),
    ("app.floats", ("empty", "[-0,0.1)", "(,NaN]", "[1,1]")),
    ("app.words", ("empty", '["a b","b)\\\\"""]', '["",)')),
    ("app.moods", ("[sad,ok]", "(,ok)")),
    ("integer[]", ("{}", "{1,NULL,3}", "[0:1]={1,2}", "{{1,2},{3,NULL}}", "[2:2][-1:0]={{5,6}}")),
    ("text[]", ('{"",NULL,"NULL","a,b","{","\\\\",é}', "{}", '{{a},{" "}}')),
    ("numeric[]", ("{1.0,1.00,NaN,Infinity}", "{}")),
    ("numeric(5,1)[]", ("{1.0,NaN,-99.9}",)),
    ("double precision[]", ("{-0,0,NaN,5e-324}",)),
    ("timestamp with time zone[]", ('{infinity,"4713-11-24 BC"}',)),
    ("interval[]", ('{"1 mon","30 days"}',)),
    ("time with time zone[]", ("{12:00+00,13:00+01}",)),
    ("bytea[]", ('{"\\\\x00","\\\\x"}',)),
    ("jsonb[]", ('{"[1.0, 1.00]","null",NULL}',)),
    ("json[]", ('{" {}","1.10"}',)),
    ("character(3)[]", ('{a,"b ",""}',)),
    ("bit(3)[]", ("{101,000}",)),
    ("bit varying[]", ('{"",101}',)),
    ("inet[]", ("{127.0.0.1,127.0.0.1/8}",)),
    ("box[]", ("{(1,1),(0,0);(2,2),(1,0.1)}",)),
    ("point[]", ('{"(0,-0)","(0.1,NaN)"}',)),
    ("money[]", ("{1.00,-0.01}",)),
    ("int4range[]", ('{empty,"[1,5)"}',)),
    ("uuid[]", ("{00000000-0000-0000-0000-000000000000,NULL}",)),
    ("date[]", ("{infinity,0001-01-01 BC}",)),
    ("boolean[]", ("{t,f,NULL}",)),
    ("xml[]", ('{"<?xml version=\\"1.0\\"?><r>é</r>",NULL,"<a/>"}',)),
    ("name[]", ('{"",a}',)),
    ("hstore[]", ('{"a=>1","b=>NULL"}',)),
    ("citext[]", ("{ABC,abc}",)),
    ("app.mood[]", ('{sad,"it\'s, \\"fine\\""}', "{}", "{{sad},{ok}}")),
    ("app.positive[]", ("{1,NULL}", "{{1},{2}}")),
    ("app.price[]", ("{0,9.50}",)),
    ("app.email[]", ("{A@b,a@B}",)),
    ("app.point3[]", ('{"(1,2,3)",NULL,"(,,)"}', '[5:5]={"(,,)"}')),
    ("app.floats[]", ('{empty,"[-0,0.1)"}',)),
    ("app.ids[]", ('{"{1,2}","{}"}',)),
)
"""Type, and the texts of its values."""

ALIKE: Final[tuple[tuple[str, str, str], ...]] = (
    ("double precision", "0", "-0"),
    ("real", "0", "-0"),
    ("double precision[]", "{0}", "{-0}"),
    ("interval", "1 mon", "30 days"),
    ("interval", "1 day", "24:00:00"),
    ("interval[]", "{1 mon}", "{30 days}"),
    ("citext", "ABC", "abc"),
    ("citext[]", "{ABC}", "{abc}"),
    ("text", "a", "a "),
    ("text", "é", "e\u0301"),
    ("character varying(9)", "a", "a "),
    ("hstore", "a=>1", "a=>NULL"),
    ("hstore", "a=>1", 'a=>"1 "'),
    ("bit(5)", "00000", "00001"),
    ("bit varying", "1", "10"),
    ("bit varying", "", "0"),
    ("integer[]", "{1,2}", "[0:1]={1,2}"),
    ("integer[]", "{1,2}", "{{1,2}}"),
    ("integer[]", "{NULL}", "{}"),
    ("text[]", "{NULL}", '{"NULL"}'),
    ("text[]", '{"a,b"}', "{a,b}"),
    ("bigint", "-1", "4294967295"),
    ("numeric(9,2)", "5", "-5"),
    ("numeric", "NaN", "Infinity"),
    ("timestamp", "2000-01-01", "2000-01-01 00:00:00.000001"),
    ("timestamp with time zone", "infinity", "-infinity"),
    ("date", "0001-01-01 BC", "0001-01-01"),
    ("time with time zone", "12:00+00", "13:00+01"),
    ("time", "24:00", "00:00"),
    ("inet", "127.0.0.1", "127.0.0.1/31"),
    ("point", "(0,0)", "(0,-0)"),
    ("path", "((0,0),(1,1))", "[(0,0),(1,1)]"),
    ("lseg", "[(0,0),(1,1)]", "[(1,1),(0,0)]"),
    ("polygon", "((0,0),(1,1),(0,1))", "((1,1),(0,1),(0,0))"),
    ("circle", "<(0,0),1>", "<(0,0),1.0000000000001>"),
    ("box", "(1,1),(0,0)", "(1,1.0000000000001),(0,0)"),
    ("tsvector", "a:1", "a:1A"),
    ("tsquery", "a", "a:*"),
    ("json", '{"a":1}', '{"a":2}'),
    ("jsonb", '"1"', "1"),
    ("jsonpath", "$.a", "strict $.a"),
    ("money", "1.00", "1.01"),
    ("numrange", "[1,2]", "[1,2)"),
    ("numrange", "[1.0,2]", "[1.00,2]"),
    ("app.floats", "[0,1]", "[-0,1]"),
    ("app.point3", "(1,2,0)", "(1,2,-0)"),
    ("app.point3", "(1,2,)", "(1,2,0)"),
    ("app.line3", "(,,{},,1.0)", "(,,{},,1.00)"),
    ("app.odd", '(,,5,ABC,,"1 mon")', '(,,5,abc,,"1 mon")'),
    ("app.odd", '(,,5,ABC,,"1 mon")', '(,,5,ABC,,"30 days")'),
    ("app.odd", '(,,,"",,)', "(,,,,,)"),
    ("app.mood", "{", ""),
    ("app.mood[]", "{sad,ok}", "{ok,sad}"),
    ("app.email", "A@b", "a@b"),
    ("app.ids", "{1}", "[0:0]={1}"),
    ("app.positive[]", "{1,NULL}", "{NULL,1}"),
    ('"char"', "", "a"),
    ("name", "a", "A"),
    ("bytea", "\\x00", "\\x"),
    ("cube", "(0)", "(-0)"),
    ("ltree", "a.b", "a.B"),
    ("seg", "1.50", "1.5"),
    ("uuid[]", "{NULL}", "{}"),
)
"""Pairs of values that some equality of PostgreSQL, some hash or some text takes for one."""

_ENDLESS: Final = "CASE n WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity'"
KEYS: Final[tuple[tuple[str, str], ...]] = (
    ("numeric", "CASE n WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE (n * 1.10)::text END"),
    (
        "date",
        f"{_ENDLESS} ELSE (date '0040-01-01 BC' + n * 999)::text END",
    ),
    (
        "timestamptz(3)",
        f"{_ENDLESS} ELSE (timestamptz '2020-03-29 00:00Z' + n * interval '7 min 1 ms')::text END",
    ),
    ("interval", "(n || ' days')"),
    ("interval(2)", "(n || '.25 sec')"),
    (
        "time with time zone",
        "('12:00:00+' || lpad((n % 15)::text, 2, '0') || ':' || lpad(n::text, 2, '0'))",
    ),
    ("inet", "('10.0.' || n || '.1/' || 8 + n % 24)"),
    ("cidr", "('10.' || n || '.0.0/16')"),
    ("macaddr", "('08:00:2b:01:02:' || lpad(to_hex(n), 2, '0'))"),
    ("bit(6)", "n::bit(6)::text"),
    ("bit varying(9)", "repeat('0', n % 3) || (n::bit(6))::text"),
    ("money", "n * 1.01"),
    ("pg_lsn", "'1/' || n"),
    ("oid", "n + 4294967200"),
    ("name", "'k' || n"),
    ('"char"', "chr(40 + n)"),
    ("int4range", "'[' || n || ',' || n + 5 || ')'"),
    ("numrange", "'[' || n || ',' || n + 5 || '.0]'"),
    ("integer[]", "'[' || n % 3 || ':' || n % 3 || ']={' || n || '}'"),
    ("text[]", "ARRAY['a' || n, NULL, '{']::text"),
    ("jsonb", "'{\"a\": ' || n || '.0}'"),
    ("tsvector", "'a' || n || ':1'"),
    ("hstore[]", "ARRAY['a=>' || n]::text"),
    ("citext", "CASE WHEN n % 2 = 0 THEN 'AbC' ELSE 'aBd' END || n"),
    ("ltree", "'Top.k' || n"),
    ("app.mood, k2 int", "'ok', n"),
    ("app.positive", "n"),
    ("app.price", "n * 1.5"),
    ("app.email", "'A@' || n"),
    ("app.point3", "'(' || n || ',,-0)'"),
    ("app.floats", "'[' || n || '.5,)'"),
    ("app.mood[], k2 text, k3 uuid", "'{ok,sad}', 'é ' || n, md5(n::text)::uuid"),
    ("char(4), k2 boolean, k3 bytea", "'a' || n, n % 2 = 0, decode(md5(n::text), 'hex')"),
)
"""Type, and SQL of the nth key's text."""


def literal(text: str, kind: str) -> str:
    return "NULL" if text is _N else "'" + text.replace("'", "''") + f"'::{kind}"


def table(kinds: list[str], name: str = "t") -> str:
    """A table with a column ``c0, c1, ...`` of each type."""
    columns = ", ".join(f"c{n} {kind}" for n, kind in enumerate(kinds))
    return f"CREATE TABLE {name} (id int PRIMARY KEY, {columns})"


def rows(columns: list[tuple[str, tuple[str, ...]]], name: str = "t") -> list[str]:
    """Statements that insert every value of every column, and NULLs."""
    count = max(len(values) for _, values in columns) + 1
    return [
        f"INSERT INTO {name} VALUES ({row}, "
        + ", ".join(
            literal(values[row], kind) if row < len(values) else "NULL" for kind, values in columns
        )
        + ")"
        for row in range(count)
    ]


def key_table(number: int) -> list[str]:
    """Statements that make the table ``k<number>``: 20 keys of one of ``KEYS``, and a value."""
    kind, value = KEYS[number]
    columns = ", ".join(["k", "k2", "k3"][: kind.count(",") + 1 if "k2" in kind else 1])
    kinds = [part.split()[-1] if i else part for i, part in enumerate(kind.split(", "))]
    kinds = kinds if "k2" in kind else [kind]
    names = ", ".join(f"v{i}::text::{part}" for i, part in enumerate(kinds))
    values = ", ".join(f"v{i}" for i in range(len(kinds)))
    return [
        f"CREATE TABLE k{number} (k {kind}, v int, PRIMARY KEY ({columns}))",
        (
            f"INSERT INTO k{number} SELECT {names}, n FROM generate_series(1, 20) n, "
            f"LATERAL (SELECT {value}) AS u ({values})"
        ),
    ]


def known_to(database: Database) -> list[tuple[str, tuple[str, ...]]]:
    """``COLUMNS``, without those of XML where the server was built without it."""
    try:
        database.value("SELECT '<a/>'::xml IS DOCUMENT")
    except psycopg.errors.FeatureNotSupported:
        return [(kind, values) for kind, values in COLUMNS if "xml" not in kind]
    return list(COLUMNS)


def read(database: Database, kinds: list[str]) -> list[tuple[object, ...]]:
    """Every value's own text, and its octets where the type's are the same everywhere."""
    with database.connect() as connection:
        connection.execute("SET extra_float_digits = 3")
        connection.execute("SET IntervalStyle = 'sql_standard'")
        connection.execute("SET lc_monetary = 'C'")
        sends: dict[str, str] = dict(
            connection.execute(
                "SELECT a.attname, t.typsend::text FROM pg_attribute a "
                "JOIN pg_type t ON t.oid = a.atttypid "
                "JOIN pg_proc p ON p.oid = t.typsend AND p.proargtypes[0] = t.oid "
                "WHERE a.attrelid = 't'::regclass AND t.typtype = 'b' AND t.typelem = 0 "
                "AND t.typnamespace = 'pg_catalog'::regnamespace"
            ).fetchall()
        )
        parts = [f"c{n}::text" for n in range(len(kinds))]
        parts += [f"{sends[f'c{n}']}(c{n})" for n in range(len(kinds)) if f"c{n}" in sends]
        return connection.execute(
            f"SELECT id, {', '.join(parts)} FROM t ORDER BY id".encode()
        ).fetchall()


def kinds_of(database: Database) -> list[str]:
    """The types of the table's columns."""
    found = database.rows(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum"
    )
    return [kind for (kind,) in found]
