"""Filters: what is accepted, what is refused, and that nothing passes through unread."""

import re

import pytest
import sqlglot
from hypothesis import event, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from dsp_airflow.config.sqltokens import SqlError
from dsp_airflow.config.where import Filter, in_any_dialect, parse_expression, parse_where

ACCEPTED = {
    "time_hour < :cutoff": '("time_hour" < (L))',
    "A = 'x\\'": "(\"a\" = E'x\\\\')",
    'a::int = 1 and cast("B" as numeric(10, 2)) > 2': (
        '("a"::int = 1 and cast("B" as numeric(10, 2)) > 2)'
    ),
    "a -> 'b' ->> 'c.d' = 'e'": "(\"a\" -> 'b' ->> 'c.d' = 'e')",
    "a = ANY(ARRAY[1,2])": '("a" = any(array[1, 2]))',
    "a = ANY('{1,2}'::int[])": "(\"a\" = any('{1,2}'::int[]))",
    "a IS NOT DISTINCT FROM :b": '("a" is not distinct from (L))',
    "date_trunc('month', a) < :x": "(date_trunc('month', \"a\") < (L))",
    "extract(year from year) = 2013": '(extract(year from "year") = 2013)',
    "a at time zone 'utc' < :x": "(\"a\" at time zone 'utc' < (L))",
    "a < date - interval '1 day'": '("a" < "date" - interval \'1 day\')',
    "time < '12:00'": "(\"time\" < '12:00')",
    "a not between symmetric :a and :b": '("a" not between symmetric (L) and (L))',
    "(a, b) < (1, :x)": '(("a", "b") < (1, (L)))',
    "substring(a from 1 for 2) = 'x'": "(substring(\"a\" from 1 for 2) = 'x')",
    "trim(both 'x' from a) = 'y'": "(trim(both 'x' from \"a\") = 'y')",
    "position('a' in b) > 0": "(position('a' in \"b\") > 0)",
    "a like '%\\%' escape '\\'": "(\"a\" like E'%\\\\%' escape E'\\\\')",
    "2 * mod(a, 3) = 1": '(2 * mod("a", 3) = 1)',
    "a<-1": '("a" < - 1)',
    "'it''s' = a": "('it''s' = \"a\")",
    'Ñandú = 1 and "Ñ""x" = 2': '("Ñandú" = 1 and "Ñ""x" = 2)',
    "a::timestamp(3) with time zone < :x": '("a"::timestamp(3) with time zone < (L))',
    "a ~ '^x' and b !~* :x or not c ~* 'y'": ('("a" ~ \'^x\' and "b" !~* (L) or not "c" ~* \'y\')'),
    "a#>>'{b,c}'='d' and e@>'[1]' and f <@ g": (
        '("a" #>> \'{b,c}\' = \'d\' and "e" @> \'[1]\' and "f" <@ "g")'
    ),
    "jsonb_typeof(a #> '{b}') = 'array'": "(jsonb_typeof(\"a\" #> '{b}') = 'array')",
    "(a || ' 12:00')::timestamp < :x": "((\"a\" || ' 12:00')::timestamp < (L))",
    "date_trunc('day', :x)::date = a": "(date_trunc('day', (L))::date = \"a\")",
    "case a when 1 then b else false end": '(case "a" when 1 then "b" else false end)',
    "a is not unknown or not b": '("a" is not unknown or not "b")',
    "a = 'now or never; -- /*'": "(\"a\" = 'now or never; -- /*')",
}

REFUSED = [
    "a > ('no' || 'w')::timestamptz",
    "a > cast(concat('to', 'day') as date)",
    "a > left('nowx', 3)::date",
    "a > (case when true then 'x' else 'n' || 'ow' end)::timestamp",
    "~ a = 1",
    "a ~ ~ 'x'",
    "a # 1 = 0",
    "a ~~ 'x'",
    "a @@ 'x'",
    "a = 1; b",
    "a = 1 -- x",
    "a --1 = 0",
    "a /* b */ = 1",
    "a = E'x\\'y'",
    "a = e'x'",
    "a = U&'x'",
    "a = n'x'",
    "x'41' = a",
    "a = $$x$$",
    "a = $x$y$x$",
    "a = $1",
    "a = ?",
    "a = %(x)s",
    "a = {{ x }}",
    "a = @x",
    "a = 'x' 'y'",
    "a[1] = 2",
    "t.a = 1",
    '"t"."a" = 1',
    "pg_catalog.lower(a) = 'x'",
    "pg_sleep(1)",
    "lowr(a) = 'x'",
    "a in (select 1)",
    "a = any(select 1)",
    "array(select 1) = a",
    "exists(select 1)",
    "count(*) > 1",
    "lower(distinct a) = 'x'",
    "row_number() over () = 1",
    "lower(a) over w = 1",
    "a filter (where b)",
    "a similar to 'x'",
    "a collate \"C\" = 'x'",
    "a::regclass = 1",
    "a::mytype = 1",
    "a::int4[1] = 1",
    "now() < a",
    "a < current_date",
    "user = 'x'",
    "a < 'now'",
    "a < ' Tomorrow '",
    "a < '12:00 today'",
    "a < 'today'::date",
    "a < date 'yesterday'",
    "random() < 1",
    "a = null",
    "null <> a",
    "a is 3",
    "a in 1",
    "a in ()",
    "select 1",
    "delete from x",
    "a union b",
    "a as b",
    "a b",
    "a, b",
    "*",
    "",
    " \n",
    "a = 'x",
    'a = "x',
    "a = 1)",
    "(a = 1",
    "a = 1) or (b = 1",
    "a\u00a0= 1",
    "a\u200b= 1",
    "a = 1\0",
    "a = '\0'",
    "a = : x",
    "a + 1",
    "'x'",
    "1",
    "lower(a)",
    "a::int",
    "(a or 1)",
    "not 'x'",
    "1a = 2",
    "1.2.3 = a",
    "a = 1 limit 1",
    "a = 1 for update",
    "(" * 60 + "a" + ")" * 60,
]


def render(filter_: Filter) -> str:
    return filter_.render(dict.fromkeys(filter_.placeholders, "L"), quote)


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepted_and_rendered(text: str) -> None:
    assert render(parse_where(text)) == ACCEPTED[text]


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(SqlError) as raised:
        parse_where(text)
    assert 0 <= raised.value.offset <= len(text)
    assert raised.value.message


def test_names() -> None:
    found = parse_where('Time_Hour < :cutoff and "Carrier" = :carrier and "A" = :cutoff')
    assert found.columns == {"time_hour", "Carrier", "A"}
    assert found.placeholders == {"cutoff", "carrier"}


def test_a_placeholder_without_a_literal() -> None:
    with pytest.raises(KeyError, match="cutoff"):
        parse_where("a < :cutoff").render({}, quote)


def test_expressions_need_not_be_boolean() -> None:
    found = parse_expression("case when a > 0 then upper(b) else 'none' end || :suffix")
    assert found.columns == {"a", "b"}
    assert found.placeholders == {"suffix"}


@pytest.mark.parametrize("text", ["now()", "count(a)", "a; b", "a, b", "a as b", "(select 1)", ""])
def test_refused_expressions(text: str) -> None:
    with pytest.raises(SqlError):
        parse_expression(text)


def test_errors_name_the_nearest_and_the_place() -> None:
    with pytest.raises(SqlError) as raised:
        parse_where("a = 1 and lowr(b) = 'x'")
    assert raised.value.offset == 10
    assert raised.value.suggestion == "lower"


def test_mysql_has_its_own_quotes_and_functions() -> None:
    found = parse_where("`Order` = :x and ifnull(A, 0) > 1", "mysql")
    assert found.columns == {"Order", "A"}
    for text in ('"a" = 1', "a = 'x\\'", "initcap(a) = 'x'", "a # 1"):
        with pytest.raises(SqlError):
            parse_where(text, "mysql")


def test_what_mysql_has_instead() -> None:
    def read(text: str) -> str:
        return parse_where(text, "mysql").canonical()

    assert read("a REGEXP '^x' and b not rlike (:x)") == "`a` regexp '^x' and `b` not rlike (:x)"
    assert read("json_unquote(json_extract(a, '$.b')) = 'c'") == (
        "json_unquote(json_extract(`a`, '$.b')) = 'c'"
    )
    assert read("if(a, b, 0) = 1") == "if(`a`, `b`, 0) = 1"
    for text in ("a ~ 'x'", "a #> 'x'", "a = 1 # b", "a @> 'x'", "a = @b", "regexp = 1"):
        with pytest.raises(SqlError):
            parse_where(text, "mysql")
    # What is a word of the one is a name of the other.
    assert parse_where("regexp = 1").columns == {"regexp"}


def test_unknown_dialect() -> None:
    with pytest.raises(ValueError, match="unknown SQL dialect 'oracle'"):
        parse_where("a = 1", "oracle")


NASTY = st.sampled_from(
    [
        "'",
        "''",
        '"',
        "\\",
        "\\'",
        "--",
        "/*",
        "*/",
        ";",
        "$$",
        "$a$",
        "E'",
        "e'\\'",
        "U&'",
        "B'",
        "(",
        ")",
        "[",
        "]",
        "::",
        ":",
        ":x",
        ",",
        ".",
        "%",
        "%(x)s",
        "{",
        "}",
        "?",
        "@",
        "#",
        "`",
        "\n",
        "\0",
        " ",
        "a",
        "b",
        "1",
        "1e",
        "0x1",
        "=",
        "<",
        "<>",
        "->",
        "->>",
        "||",
        "-",
        "+",
        "*",
        "/",
        "and",
        "or",
        "not",
        "in",
        "is",
        "null",
        "between",
        "like",
        "case",
        "when",
        "then",
        "else",
        "end",
        "cast",
        "as",
        "int",
        "any",
        "array",
        "select",
        "from",
        "where",
        "union",
        "lower",
        "lower(",
        "pg_sleep(",
        "at",
        "time",
        "zone",
        "interval",
        "date",
        "true",
        "é",
        "\u017f",
        "\u212a",
        "\u00a0",
        "\u2028",
        "\u202e",
        "\U0001d51e",
        "\u0663",
    ]
)
HOSTILE = st.one_of(
    st.lists(NASTY, max_size=14).map(" ".join),
    st.lists(NASTY, max_size=14).map("".join),
    st.text(max_size=40),
)
NAMES = st.sampled_from(["a", "Time_Hour", "date", '"A"', '"x""y"', '"--"', '";"', '"/*"', "ñ"])
STRINGS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
VALUES = st.one_of(
    NAMES,
    st.just(":x"),
    st.integers(0, 999).map(str),
    STRINGS.filter(lambda text: not re.search("now|to|yes", text.lower())).map(
        lambda text: "'" + text.replace("'", "''") + "'"
    ),
    NAMES.map(lambda name: f"lower({name})"),
    NAMES.map(lambda name: f"{name}::numeric(5, 2)"),
)
COMPARISONS = st.one_of(
    st.builds("{} {} {}".format, VALUES, st.sampled_from(["=", "<>", "<=", "like"]), VALUES),
    st.builds("{} in ({}, {})".format, VALUES, VALUES, VALUES),
    st.builds("{} not between {} and {}".format, VALUES, VALUES, VALUES),
    st.builds("{} is not null".format, VALUES),
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds("({}) and {}".format, inner, inner),
        st.builds("{} OR not ({})".format, inner, inner),
    ),
    max_leaves=6,
)


def outside_quotes(sql: str) -> str:
    """What PostgreSQL sees outside strings and quoted names, read by other means than ours."""
    left = re.sub(r"""E'(?:[^'\\]|''|\\.)*'|'[^']*'|"[^"]*\"""", " ", sql, flags=re.DOTALL)
    assert "'" not in left
    assert '"' not in left
    return left


def assert_contained(sql: str) -> None:
    """The SQL is one parenthesis that closes at its end, and holds no way out of it."""
    bare = outside_quotes(sql)
    for bad in (";", "--", "/*", "$", "\\", "\0"):
        assert bad not in bare
    depth = 0
    for index, char in enumerate(bare.strip()):
        depth += (char == "(") - (char == ")")
        assert depth > 0 or index == len(bare.strip()) - 1
    assert depth == 0


@settings(max_examples=1500, deadline=None)
@given(HOSTILE)
def test_hostile_text_is_refused_or_contained(text: str) -> None:
    try:
        found = parse_where(text)
    except SqlError as error:
        event("refused")
        if not 0 <= error.offset <= len(text):
            raise
        return
    event("accepted")
    assert_contained(render(found))
    again = parse_where(found.canonical())
    assert again.canonical() == found.canonical()
    assert (again.columns, again.placeholders) == (found.columns, found.placeholders)


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_hostile_text_inside_a_string_stays_a_string(text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    try:
        found = parse_where(f"a = {quoted}")
    except SqlError:
        assert "\0" in text or re.search("now|today|tomorrow|yesterday", text.lower())
        return
    rendered = render(found)
    assert_contained(rendered)
    literal = sqlglot.parse_one(found.canonical(), read="postgres").expression
    assert literal.this == text


@settings(max_examples=300, deadline=None)
@given(CONDITIONS)
def test_rendered_sql_has_the_tree_of_the_text(text: str) -> None:
    found = parse_where(text)
    folded: exp.Expr = sqlglot.parse_one(text, read="postgres").transform(fold)
    assert sqlglot.parse_one(found.canonical(), read="postgres") == folded
    assert_contained(render(found))


def fold(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Identifier) and not node.quoted:
        return exp.Identifier(this=node.this.lower(), quoted=True)
    return node


def test_a_filter_of_any_dialect() -> None:
    """Which one a source is, only its connection tells."""
    assert in_any_dialect(parse_where, "`order` > 5 AND name LIKE 'a%'").dialect == "mysql"
    assert in_any_dialect(parse_where, '"order" > 5').dialect == "postgres"
    with pytest.raises(SqlError, match="quote"):
        in_any_dialect(parse_where, '"a" > 5 AND `b` = \'x')
