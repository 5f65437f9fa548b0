"""Which tests leave their turn to another server's."""

from __future__ import annotations

from tests.share import by_turns


def test_turns() -> None:
    tests = [f"tests/a.py::test_{n}" for n in range(40)]
    names = [f"{t}[{server}-x]" for t in tests for server in ("pg15", "pg18")]
    left = by_turns(names)
    assert all(((f"{t}[pg15-x]" in left) + (f"{t}[pg18-x]" in left)) == 1 for t in tests)
    assert {name.partition("[")[2] for name in left} == {"pg15-x]", "pg18-x]"}


def test_mariadb_is_always_tried() -> None:
    tests = [f"tests/a.py::test_{n}" for n in range(40)]
    names = [f"{t}[{my}-mysql text]" for t in tests for my in ("mariadb", "mysql")]
    left = by_turns(names)
    assert 0 < len(left) < len(tests)
    assert all("[mysql-mysql text]" in name for name in left)


def test_who_has_no_counterpart_is_tried() -> None:
    names = ["a[pg15]", "b[pg15-pg18]", "b[pg18-pg15]", "c[mysql]", "d", "e[pg18]"]
    assert by_turns(names) == set()


def test_every_turn_is_had() -> None:
    sides = [(pg, s3) for pg in ("pg15", "pg18") for s3 in ("moto", "rclone")]
    names = [f"a.py::test_{n}[{pg}-{s3}]" for n in range(40) for pg, s3 in sides]
    names += [f"b.py::test_{n}[{kept}]" for n in range(40) for kept in ("unversioned", "versioned")]
    left = by_turns(names)
    assert sum("versioned" in name for name in left) == 40
    assert all(any(name not in left for name in names if f"_{n}[" in name) for n in range(40))
