"""Keys of every type: a key's text finds its row, and ranges between such texts hold every row."""

from __future__ import annotations

import pytest

from dsp_airflow.engine.compare import digest_of
from dsp_airflow.engine.model import BatchSize
from dsp_airflow.engine.stores.mysql import proof
from dsp_airflow.engine.stores.mysql.purge import MySQLPurge
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one
from dsp_airflow.engine.stores.mysql.split import split
from tests.mysql.tables import projection

KEYS = {
    "TINYINT": ("-128", "0", "127"),
    "BIGINT UNSIGNED": ("0", "1", "18446744073709551615", "9223372036854775808"),
    "DECIMAL(65,30)": ("-1.5", "0", f"{10**34}.{1:030}"),
    "DOUBLE": (
        "-1e300",
        "0",
        "0.1",
        "1e-300",
        "1e15",
        "123456789.123456789",
        "1.7976931348623157e308",
    ),
    "YEAR": ("0", "1901", "2155"),
    "DATE": ("'0000-00-00'", "'2024-00-00'", "'2024-02-30'", "'9999-12-31'"),
    "DATETIME(6)": (
        "'0000-00-00'",
        "'2024-01-01'",
        "'2024-01-01 10:00:00.000001'",
        "'2024-01-01 10:00:00.1'",
    ),
    "DATETIME": ("'2024-01-01 10:00:00'", "'2024-01-01 10:00:10'"),
    "TIMESTAMP(6)": ("'1970-01-01 00:00:01'", "'2024-06-01 10:20:30.100'"),
    "TIME(6)": ("'-838:59:59'", "'-00:00:00.5'", "'00:00:00'", "'838:59:59'"),
    "VARCHAR(20) COLLATE utf8mb4_bin": (
        "'a'",
        "'A'",
        "'é'",
        "'\\\\'",
        "'\\''",
        "'😀'",
        "'%'",
        "''",
    ),
    "VARCHAR(20) CHARACTER SET latin1": ("'a'", "'é'", "'z'", "'Zz'"),
    "CHAR(5)": ("'a'", "'b'", "''", "'ö'"),
    "VARBINARY(9)": ("x''", "x'00'", "x'0000'", "x'ff'", "x'5c27'"),
    "BINARY(4)": ("x'00000000'", "x'61'", "x'ffffffff'"),
    "ENUM('z','a','m')": ("'z'", "'a'", "'m'"),
    "SET('z','a')": ("''", "'z'", "'a'", "'z,a'"),
    "BIT(64)": ("b'0'", "b'1'", "0xffffffffffffffff"),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("pair", [False, True])
def test_a_key_finds_its_row(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, kind: str, pair: bool
) -> None:
    monkeypatch.setattr(proof, "PAGE", 1)
    execute(connection, f"CREATE TABLE t (k {kind} NOT NULL, n INT, PRIMARY KEY (k, n))")
    times = (1, 2) if pair else (1,)
    values = [f"({value}, {n})" for value in KEYS[kind] for n in times]
    execute(connection, f"INSERT INTO t VALUES {', '.join(values)}")
    what = projection(connection, "t", *(["k", "n"] if pair else ["k"]))
    whole = proof.digest(connection, what, None)
    assert whole.rows == len(values)
    paged = list(proof.hashes(connection, what, None, None))
    assert digest_of(paged) == whole
    for row in paged:
        (found,) = proof.hashes(connection, what, None, [row.at])
        assert found == row
    batches, _ = split(connection, what, BatchSize(1), 2**26)
    assert [batch.rows for batch in batches] == [1] * len(values)
    for batch, row in zip(batches, paged, strict=True):
        assert proof.digest(connection, what, batch.within) == digest_of([row])
    work = MySQLPurge(connection)
    assert digest_of(work.take_keys(what, [row.at for row in paged])) == whole
    work.undo()
    for batch in batches:
        assert work.take(what, batch.within) is not None
    work.commit()
    work.close()
    assert one(connection, "SELECT COUNT(*) FROM t")[0] == "0"
