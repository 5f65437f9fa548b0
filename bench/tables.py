"""The tables that are measured. Every value follows from the row's number."""

from __future__ import annotations

TABLE = "bench"
FEW = "bench_few"
EATEN = f"{TABLE}_purged"
LARGE = "bench_large"

COLUMNS = """
    id bigint PRIMARY KEY,
    quantity integer,
    code smallint,
    price numeric(12, 2),
    rate numeric(20, 6),
    score double precision,
    name varchar(80),
    note text,
    active boolean,
    born date,
    made timestamp,
    seen timestamptz,
    token uuid,
    attributes jsonb,
    raw bytea
"""

# Each nullable value is NULL in another tenth of the rows.
ROWS = r"""
SELECT n,
    CASE WHEN (n + 1) % 10 <> 0 THEN (n * 7919 % 2000000000)::integer END,
    CASE WHEN (n + 2) % 10 <> 0 THEN (n % 32000)::smallint END,
    CASE WHEN (n + 3) % 10 <> 0 THEN (n % 1000000000) / 100.0 END,
    CASE WHEN (n + 4) % 10 <> 0 THEN n * 31.415926 - 1000000 END,
    CASE WHEN (n + 5) % 10 <> 0 THEN sqrt(n) / 3 END,
    CASE WHEN (n + 6) % 10 <> 0 THEN 'customer ' || n || ' of ' || md5('name' || n) END,
    CASE WHEN (n + 7) % 10 <> 0 THEN
        E'first line\tof row ' || n || E'\nsaid "yes" and ''no'', C:\\temp\\' || n
        || ' žluťoučký 漢字 ' || repeat(md5('note' || n), 2) END,
    CASE WHEN (n + 8) % 10 <> 0 THEN n % 3 = 0 END,
    CASE WHEN (n + 9) % 10 <> 0 THEN date '1950-01-01' + (n % 25000)::integer END,
    CASE WHEN n % 10 <> 0 THEN timestamp '2001-02-03 04:05:06.789012' + n * interval '37 s' END,
    CASE WHEN (n + 1) % 10 <> 5 THEN timestamptz '2010-01-01 00:00+00' + n * interval '11 s' END,
    CASE WHEN (n + 2) % 10 <> 5 THEN md5('token' || n)::uuid END,
    CASE WHEN (n + 3) % 10 <> 5 THEN
        jsonb_build_object('n', n, 'tag', 'tag-' || n % 100, 'list', jsonb_build_array(n % 7, true))
        END,
    CASE WHEN (n + 4) % 10 <> 5 THEN decode(repeat(md5('raw' || n), 2), 'hex') END
"""


def create(table: str = TABLE) -> str:
    """The empty table."""
    return f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({COLUMNS})"


def fill(rows: int, table: str = TABLE) -> str:
    """Fills it in key order."""
    return f"INSERT INTO {table} {ROWS} FROM generate_series(1::bigint, {rows}) n"


def create_large(kind: str = "text") -> str:
    """One wide column, not compressed, so that the bytes are really moved."""
    return (
        f"DROP TABLE IF EXISTS {LARGE}; "
        f"CREATE TABLE {LARGE} (id bigint PRIMARY KEY, body {kind} NOT NULL); "
        f"ALTER TABLE {LARGE} ALTER body SET STORAGE EXTERNAL"
    )


def fill_large(rows: int) -> str:
    """Rows of 1 MiB."""
    return (
        f"INSERT INTO {LARGE} SELECT n, string_agg(md5(n || '-' || m), '' ORDER BY m) "
        f"FROM generate_series(1::bigint, {rows}) n, generate_series(1, 32768) m GROUP BY n"
    )


def fill_random(rows: int) -> str:
    """Rows of 1 MiB that no compression makes smaller."""
    return (
        f"INSERT INTO {LARGE} "
        "SELECT n, string_agg(sha256((n || '-' || m)::bytea), '' ORDER BY m) "
        f"FROM generate_series(1::bigint, {rows}) n, generate_series(1, 32768) m GROUP BY n"
    )
