"""Tables and servers that are altered in the middle of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Refused
from dsp_airflow.engine.events import BatchStarted
from dsp_airflow.steps import TaskRun
from tests.faults.tables import fill, rows_of
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair

__all__ = ["pair"]

HERE = [("mariadb", "mariadb"), ("mysql", "mysql")]
ROWS = 40


class At:
    """Does something as the third batch begins, once."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act: Callable[[], Any] | None = act
        self._begun = 0

    def on(self, event: object) -> None:
        if isinstance(event, BatchStarted):
            self._begun += 1
            if self._begun == 3 and self._act is not None:
                act, self._act = self._act, None
                act()


ALTERED = [
    ("source", "ADD COLUMN more INT", "column more added"),
    ("source", "DROP COLUMN name", "name"),
    ("source", "RENAME COLUMN name TO title", "name"),
    ("target", "DROP COLUMN name", "name"),
    ("target", "MODIFY name VARCHAR(300)", r"name was varchar\(100\)"),
    ("source", "RENAME TO elsewhere", "gone|exist"),
]


def planned(pair: Pair, **more: Any) -> TaskRun:
    fill(pair.source, ROWS)
    given = {"purge": "system", "check": {"percent": 100}, "batch_size": 10, **more}
    pair.write(pair.job(**given))
    run = pair.open()
    run.plan("copy")
    return run


@named(HERE)
@pytest.mark.parametrize(("side", "harm", "says"), ALTERED)
def test_altered_while_it_is_copied(pair: Pair, side: str, harm: str, says: str) -> None:
    """The batch at work may notice, or the next try; what is deleted is always nothing."""
    run = planned(pair)
    place = getattr(pair, side)
    run.watch = At(lambda: place.execute(f"ALTER TABLE t {harm}"))
    with contextlib.suppress(DspError):
        run.copy("copy")
    again = pair.open()
    with pytest.raises((Refused, ConfigError), match=says):
        again.copy("copy")
    with pytest.raises(DspError):
        again.purge("copy")
    table = "elsewhere" if "RENAME TO" in harm else "t"
    assert pair.source.value(f"SELECT COUNT(*) FROM {table}") == ROWS


DURING_PURGE = [
    ("source", "ADD COLUMN more INT DEFAULT 7"),
    ("source", "RENAME COLUMN name TO title"),
    ("source", "ENGINE = MyISAM"),
    ("target", "DROP COLUMN name"),
    ("target", "MODIFY data VARBINARY(17)"),
    ("target", "ENGINE = MEMORY"),
]


@named(HERE)
@pytest.mark.parametrize(("side", "harm"), DURING_PURGE)
def test_altered_while_it_is_purged(pair: Pair, side: str, harm: str) -> None:
    """No further batch is deleted, and none by an old proof."""
    run = planned(pair)
    run.copy("copy")
    run.check("copy")
    before = rows_of(pair.target)
    run.watch = At(lambda: getattr(pair, side).execute(f"ALTER TABLE t {harm}"))
    with pytest.raises((Refused, ConfigError)):
        run.purge("copy")
    assert pair.source.value("SELECT COUNT(*) FROM t") == ROWS - 20
    assert pair.target.value("SELECT COUNT(*) FROM t") == ROWS
    if side == "source":
        assert rows_of(pair.target) == before
    with pytest.raises((Refused, ConfigError, Denied)):
        pair.open().purge("copy")
    assert pair.source.value("SELECT COUNT(*) FROM t") == ROWS - 20
