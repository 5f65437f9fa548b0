"""The one definition of equal: a canonical text per value, by PostgreSQL, MySQL, DuckDB and Python.

Of BSON values, see ``canon.mongodb``.

Two values of a type are equal when their canonical texts are. A rendering may be finer than
the value (equal values with different texts cost a second look), never coarser.

Row text
    The fields in mapped order, each ``N`` for NULL, else ``<octets>:<text>``; UTF-8.

bool ``0`` ``1``. Integers: digits, ``-``.
decimal(p,s)
    All ``s`` digits after the point, no exponent; ``NaN``.
decimal, unbounded
    The value's own digits, so that ``1.0`` and ``1.00`` are told apart: PostgreSQL keeps the
    scale of each value and a copy has to, too. ``NaN``, ``Infinity``, ``-Infinity``.
float32, float64
    PostgreSQL's shortest text: the fewest digits that lie *inside* the rounding interval (its
    bounds excluded: 1e23 is ``9.999999999999999e+22``), positional for exponents from -4 to 5
    (float32) or 14 (float64), else ``d.ddde+XX``. ``-0``, ``NaN`` (one), ``Infinity``.
string
    The code points. PostgreSQL's ``char(n)`` loses the blanks at its end.
bytes
    Lower hex.
date, timestamp, timestamptz
    ``YYYY-MM-DD``, then ``THH:MM:SS.ffffff``, then ``Z`` (in UTC). Years are astronomical
    (1 BC is 0); outside 0001 to 9999 they carry a sign: ``+12345-01-01``, ``-0043-03-15``,
    ``+0000-12-31``. ``infinity``, ``-infinity`` alone.
time
    ``HH:MM:SS.ffffff``, ``24:00:00.000000`` included.
duration
    ``months/days/microseconds``, each with its own sign; ``infinity``.
uuid lower with hyphens. objectid 24 lower hex digits. enum the label.
json
    By value: keys sorted by code point, no spaces, numbers exact and without needless zeros,
    of equal keys the last. That is what Python renders; PostgreSQL renders its own text (of
    ``jsonb`` normalised but for numbers, of ``json`` as it came), which is finer.
list
    ``<count>:`` and the elements as fields of a row. PostgreSQL's arrays of several dimensions
    or with other lower bounds: ``A`` and the array's own text.
other
    Its system's own text.

The SQL relies on DateStyle ISO, extra_float_digits 1, bytea_output hex and a server encoding
of UTF8, which the store fixes or requires; not on the time zone.
"""

from __future__ import annotations

from typing import Final

from dsp_airflow.engine.canon.mysql import (
    mysql_digest_md5,
    mysql_digest_sha1,
    mysql_key_text,
    mysql_row_hash_md5,
    mysql_row_text,
    mysql_text,
)
from dsp_airflow.engine.canon.postgres import (
    postgres_digest_md5,
    postgres_row_hash_md5,
    postgres_row_text,
    postgres_text,
)
from dsp_airflow.engine.canon.postgres_hash import (
    postgres_identity,
    postgres_row_hash_fields,
    postgres_row_hash_record,
)
from dsp_airflow.engine.canon.python import (
    python_digest_md5,
    python_elements,
    python_row_hash_md5,
    python_row_text,
    python_text,
)

CANON_VERSION: Final = 2
"""Part of every receipt: grows when any text or row hash here changes."""

__all__ = [
    "CANON_VERSION",
    "mysql_digest_md5",
    "mysql_digest_sha1",
    "mysql_key_text",
    "mysql_row_hash_md5",
    "mysql_row_text",
    "mysql_text",
    "postgres_digest_md5",
    "postgres_identity",
    "postgres_row_hash_fields",
    "postgres_row_hash_md5",
    "postgres_row_hash_record",
    "postgres_row_text",
    "postgres_text",
    "python_digest_md5",
    "python_elements",
    "python_row_hash_md5",
    "python_row_text",
    "python_text",
]
