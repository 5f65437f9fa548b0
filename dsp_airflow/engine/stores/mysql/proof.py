"""Digests, counts and row hashes: SQL around ``canon``."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from dsp_airflow.engine import canon
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import (
    Digest,
    Field,
    Key,
    KeyRange,
    LossCount,
    Projection,
    RowHash,
)
from dsp_airflow.engine.stores.mysql import casting, dialect, names
from dsp_airflow.engine.stores.mysql.query import Connection, TextRow, one, rows, texts

KEYS_AT_ONCE = 500
"""Below the number at which MariaDB makes a join of a list, and reads the whole table for it."""
PAGE = 10_000
"""Rows hashed by one statement."""
NO_HASH = 10**40
"""Stands in a sum for a row without a hash: far more than all the hashes can come to."""


def condition(what: Projection, within: KeyRange | None) -> str:
    """The rows of a range that match the job's filter."""
    parts = []
    if within is not None:
        parts.append(dialect.range_condition(what.key, within))
    if what.where is not None:
        parts.append(f"({what.where})")
    return " AND ".join(parts) or "TRUE"


def too_large(what: Projection) -> Refused:
    """What is raised for a row whose text outgrew the server's limit, so that it has no hash."""
    return Refused(
        f"{what.label}: the text of a row is larger than max_allowed_packet of the server, so it "
        "cannot be rendered or proved; raise max_allowed_packet (bytes are written as hex, which "
        "doubles them), or leave the column out"
    )


def digest(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    keys: Sequence[Key] | None = None,
) -> Digest:
    """See ``ports.Digests``."""
    if keys is None:
        return digest_where(connection, what, condition(what, within))
    total = Digest(0, 0, what.method)
    for chunk in key_chunks(keys):
        total += digest_where(connection, what, by_keys(what, chunk, within))
    return total


def digest_where(connection: Connection, what: Projection, matching: str, lock: str = "") -> Digest:
    """The digest of the rows of a condition; ``lock`` is what the statement ends with."""
    own = what.method == "sha1"
    row = canon.mysql_digest_sha1(what.fields) if own else canon.mysql_digest_md5(what.fields)
    # A row's hash appears once, so that it is computed once.
    count, total = one(
        connection,
        f"SELECT COUNT(*), COALESCE(SUM(COALESCE({row}, {NO_HASH})), 0) "
        f"FROM {what.table} WHERE {matching}{lock}",
    )
    if abs(int(str(total))) >= NO_HASH // 2:
        raise too_large(what)
    return Digest(int(str(count)), int(str(total)), what.method)


def count(connection: Connection, what: Projection, within: KeyRange) -> int:
    """See ``ports.Digests``."""
    return count_where(connection, what, condition(what, within))


def count_where(connection: Connection, what: Projection, matching: str) -> int:
    """How many rows a condition has."""
    return int(str(one(connection, f"SELECT COUNT(*) FROM {what.table} WHERE {matching}")[0]))


def holds_rows(connection: Connection, what: Projection) -> bool:
    """See ``ports.Digests``."""
    select = f"SELECT 1 FROM {what.table} WHERE {condition(what, None)} LIMIT 1"
    return bool(rows(connection, select))


def losses(connection: Connection, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:
    """See ``ports.Digests``."""
    if not what.losses:
        return ()
    counts = ", ".join(
        f"COALESCE(SUM(CASE WHEN {loss.condition} THEN 1 ELSE 0 END), 0)" for loss in what.losses
    )
    row = one(connection, f"SELECT {counts} FROM {what.table} WHERE {condition(what, within)}")
    return tuple(
        LossCount(loss.column, loss.rule, int(str(n)))
        for loss, n in zip(what.losses, row, strict=True)
        if n != "0"
    )


def key_fields(what: Projection) -> list[Field]:
    """The fields that carry the mapped key: the first ones, in key order."""
    return list(what.fields[: len(what.key)])


def own_key(what: Projection) -> list[str]:
    """SQL of the own key's texts. What is no text is an error here too: it would bound no range."""
    texts = [canon.mysql_key_text(k.column, k.native) for k in what.key]
    return [
        f"IF({field.expression} IS NULL, NULL, {text})" if casting.may_fail(field) else text
        for text, field in zip(texts, key_fields(what), strict=True)
    ]


def mapped_key(what: Projection) -> list[str]:
    """SQL of the mapped key's texts."""
    return [canon.mysql_key_text(f.expression, f.native) for f in key_fields(what)]


def hash_columns(what: Projection) -> str:
    """Select list of a ``RowHash``: mapped key texts, hash, own key texts."""
    return ", ".join([*mapped_key(what), canon.mysql_row_hash_md5(what.fields), *own_key(what)])


def as_hash(what: Projection, row: TextRow) -> RowHash:
    """A row of ``hash_columns`` as a value. No server here tells how old a row is."""
    width = len(what.key)
    text = row[width]
    if text is None:
        raise too_large(what)
    # A key that is NULL is refused before anything is copied; elsewhere it matches nothing.
    return RowHash(tuple(row[:width]), text, None, tuple(row[width + 1 :]))  # type: ignore[arg-type]


def hashes(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    keys: Sequence[Key] | None,
    mark: str | None = None,  # noqa: ARG001
) -> Generator[RowHash, None, None]:
    """See ``ports.Digests``. Between two rows the connection is free, unless there is no key."""
    if keys is not None:
        for chunk in key_chunks(keys):
            yield from hashes_where(connection, what, by_keys(what, chunk, within))
    elif what.key:
        for page in pages(connection, what, within or KeyRange()):
            yield from hashes_where(connection, what, condition(what, page))
    else:
        yield from _sorted(connection, what)


def hashes_where(
    connection: Connection, what: Projection, matching: str, lock: str = ""
) -> list[RowHash]:
    """The rows of a condition, in no order; they must fit into memory."""
    select = f"SELECT {hash_columns(what)} FROM {what.table} WHERE {matching}{lock}"
    return [as_hash(what, row) for row in texts(connection, select)]


def pages(connection: Connection, what: Projection, within: KeyRange) -> Iterator[KeyRange]:
    """The range in parts of so many rows; rows that share a key share a part."""
    after = within.after
    while True:
        rest = KeyRange(after, within.upto)
        upto = edge(connection, what, rest, PAGE)
        if upto is None:
            yield rest
            return
        yield KeyRange(after, upto)
        after = upto


def edge(connection: Connection, what: Projection, within: KeyRange, number: int) -> Key | None:
    """The own key of the range's ``number``-th matching row; ``None`` when there are fewer."""
    order = ", ".join(k.column for k in what.key)
    found = texts(
        connection,
        f"SELECT {', '.join(own_key(what))} FROM {what.table} WHERE {condition(what, within)} "
        f"ORDER BY {order} LIMIT 1 OFFSET {number - 1}",
    )
    return tuple(map(str, found[0])) if found else None


def _sorted(connection: Connection, what: Projection) -> Iterator[RowHash]:
    """All rows in order of their hashes. The server sorts once and keeps what was not fetched."""
    connection.query(
        f"SELECT h FROM (SELECT {hash_columns(what)} AS h FROM {what.table} "
        f"WHERE {condition(what, None)}) AS r ORDER BY CAST(h AS BINARY)"
    )
    result = connection.use_result()
    try:
        while found := result.fetch_row(PAGE):
            for (text,) in found:
                yield as_hash(what, (None if text is None else text.decode(),))
    except (GeneratorExit, Refused):
        # Nothing else can be asked before the rest was read.
        while result.fetch_row(PAGE):
            continue
        raise


def by_keys(what: Projection, keys: Sequence[Key], within: KeyRange | None = None) -> str:
    """Condition of the matching rows that have one of these keys."""
    if len(what.key) == 1:
        (own,) = what.key
        values = ", ".join(names.bound(key[0], own.native) for key in keys)
        clause = f"{own.column} IN ({values})"
    else:
        clause = " OR ".join(
            "("
            + " AND ".join(
                f"{k.column} = {names.bound(text, k.native)}"
                for k, text in zip(what.key, key, strict=True)
            )
            + ")"
            for key in keys
        )
    return f"({clause}) AND {condition(what, within)}"


def key_chunks(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Keys in numbers that one statement bears."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        yield keys[start : start + KEYS_AT_ONCE]


def field_texts(
    connection: Connection, what: Projection, keys: Sequence[Key]
) -> dict[Key, tuple[str | None, ...]]:
    """See ``ports.Digests.texts``."""
    width, size = len(what.key), len(what.fields)
    shown = [canon.mysql_text(f.expression, f.type, f.native) for f in what.fields]
    # What became NULL for its size is not taken for a value that is NULL.
    nulls = [f"({f.expression}) IS NULL" for f in what.fields]
    select = f"SELECT {', '.join([*mapped_key(what), *shown, *nulls])} FROM {what.table}"
    found: dict[Key, tuple[str | None, ...]] = {}
    for chunk in key_chunks(keys):
        for row in texts(connection, f"{select} WHERE {by_keys(what, chunk)}"):
            values, null = row[width : width + size], row[width + size :]
            if any(v is None and n == "0" for v, n in zip(values, null, strict=True)):
                raise too_large(what)
            found[tuple(map(str, row[:width]))] = values
    return found
