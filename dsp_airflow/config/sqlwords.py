"""Which words filters and expressions may use, per SQL dialect."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DIALECTS = ("postgres", "mysql")

KEYWORDS = _words(
    "and or not in between like ilike is null true false distinct from case when then "
    "else end cast as any array escape for both leading trailing symmetric"
)
OWN_KEYWORDS = {"postgres": frozenset[str](), "mysql": _words("regexp rlike")}
# Keywords that are followed by a parenthesis without being functions.
BEFORE_PARENTHESIS = _words(
    "and or not in any when then else case between like ilike from regexp rlike"
)

_COMMON = _words(
    "abs bit_length ceil ceiling char_length character_length coalesce concat concat_ws "
    "exp extract floor greatest least left length ln lower lpad ltrim md5 mod nullif "
    "octet_length position power replace reverse right round rpad rtrim sign sqrt substr "
    "substring trim upper"
)
FUNCTIONS = {
    "postgres": _COMMON
    | _words(
        "btrim cardinality date_part date_trunc div initcap json_array_length json_typeof "
        "jsonb_array_length jsonb_typeof make_date split_part starts_with strpos to_char to_date "
        "to_number translate trunc"
    ),
    "mysql": _COMMON
    | _words(
        "date day dayofmonth hour if ifnull instr json_contains json_extract json_length "
        "json_type json_unquote json_valid json_value lcase locate minute mid month quarter "
        "second truncate ucase year"
    ),
}

_COMMON_TYPES = _words("date time json decimal char")
TYPES = {
    "postgres": _COMMON_TYPES
    | _words(
        "bool boolean smallint int2 int integer int4 bigint int8 numeric real float4 float "
        "float8 text varchar character bytea timetz timestamp timestamptz interval uuid jsonb"
    )
    | {"double precision", "character varying"},
    "mysql": _COMMON_TYPES | _words("signed unsigned datetime binary double float year"),
}
# Types that may stand before a string, as in date '2026-01-31'.
LITERAL_TYPES = _words("date time timestamp timestamptz interval")
TIME_TYPES = _words("date time timetz timestamp timestamptz datetime")

EXTRACT_FIELDS = _words(
    "century day decade dow doy epoch hour isodow isoyear microseconds millennium "
    "milliseconds minute month quarter second week year"
)

VOLATILE = _words(
    "age clock_timestamp curdate current_catalog current_date current_database "
    "current_role current_schema current_setting current_time current_timestamp "
    "current_user curtime currval gen_random_uuid lastval localtime localtimestamp "
    "nextval now rand random session_user setseed statement_timestamp sysdate timeofday "
    "transaction_timestamp txid_current unix_timestamp user utc_date utc_time "
    "utc_timestamp uuid uuid_generate_v4 uuidv4 uuidv7"
)
# Of those, the ones that PostgreSQL and MySQL read without parentheses.
VOLATILE_WITHOUT_PARENTHESES = _words(
    "current_catalog current_date current_role current_schema current_time "
    "current_timestamp current_user localtime localtimestamp session_user user utc_date "
    "utc_time utc_timestamp"
)
AGGREGATES = _words(
    "array_agg avg bool_and bool_or count every group_concat json_agg jsonb_agg max min "
    "stddev string_agg sum variance row_number rank dense_rank lag lead first_value "
    "last_value"
)
SUBQUERY_WORDS = _words("select exists with values table")

# Reserved in the dialect and not among the keywords above: a column of this name needs quotes.
_RESERVED_BOTH = _words(
    "all analyze asc check collate column constraint create cross default desc except "
    "fetch foreign from grant group having inner intersect into join lateral leading left "
    "limit natural on order primary references right select table to union unique using "
    "where window with"
)
RESERVED = {
    "postgres": _RESERVED_BOTH
    | _words(
        "analyse asymmetric authorization binary concurrently deferrable do except freeze "
        "full initially isnull notnull offset only outer overlaps placing returning similar "
        "some system_user tablesample trailing variadic verbose"
    ),
    "mysql": _RESERVED_BOTH
    | _words(
        "accessible add alter before by call change condition continue convert databases "
        "day_hour div delete describe drop each exit explain exists force function groups if "
        "ignore index insert interval key keys kill lines load lock long loop match mod over "
        "partition procedure range rank read release rename repeat replace require "
        "return row rows schema set show sql ssl starting straight_join system then "
        "trigger undo unlock update usage use values varying virtual when while write xor "
        "zerofill"
    ),
}
