"""How a copy looks at a source that others work on, under each isolation level."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.engine.stores.mysql.store import MySqlSession
from dsp_airflow.steps import TaskRun
from tests.faults.tables import changing, fill, rows_of
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair

__all__ = ["pair"]

LEVELS = ("read_uncommitted", "read_committed", "repeatable_read", "serializable")
HERE = [("mariadb", "mariadb"), ("mysql", "mysql")]
every_level = pytest.mark.parametrize("isolation", LEVELS)


def planned(pair: Pair, isolation: str, rows: int, **more: Any) -> TaskRun:
    """A table of that many rows and a planned run over it, under an isolation level."""
    fill(pair.source, rows)
    given = {"check": {"percent": 100}, "purge": "system", "isolation": isolation, **more}
    pair.write(pair.job(**given))
    run = pair.open()
    run.plan("copy")
    return run


@named(HERE)
@every_level
def test_rows_that_change_between_digest_and_read(
    pair: Pair, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has what was digested; what changed is kept and told apart from damage."""
    run = planned(pair, isolation, 100)
    changes = (
        "UPDATE t SET name = 'changed' WHERE id = 7",
        "DELETE FROM t WHERE id = 8",
        "UPDATE t SET id = -9 WHERE id = 9",
        "INSERT INTO t (id, name) VALUES (0, 'new')",
    )
    digest, came = MySqlSession.digest, list[bool]()

    def then_change(self: MySqlSession, *args: Any, **more: Any) -> Any:
        found = digest(self, *args, **more)
        monkeypatch.setattr(MySqlSession, "digest", digest)
        with changing(pair.source, impatient=True) as session:
            came.extend(session.change(statement) for statement in changes)
        return found

    monkeypatch.setattr(MySqlSession, "digest", then_change)
    before = rows_of(pair.source)
    run.copy("copy")
    # What is locked while it is read does not change.
    assert came == [isolation != "serializable"] * 4
    assert rows_of(pair.target) == before
    if isolation == "serializable":
        pair.source.execute(*changes)
    checked = run.check("copy")
    assert (checked.rows_checked, checked.rows_different) == (100, 0)
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (97, 3)
    assert [row[:2] for row in rows_of(pair.source)] == [
        (-9, "name 9"),
        (0, "new"),
        (7, "changed"),
    ]
    reported = {d.difference.key for d in run.runs.differences(run.run.id)}
    assert reported == {("-9",), ("0",), ("7",)}
