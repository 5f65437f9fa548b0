"""What a run archived is taken back once the source has every row again, and not before."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.engine.archive import rollback
from dsp_airflow.engine.errors import Refused, Transient
from dsp_airflow.undoing import undo_of
from tests.s3.harness import Archives
from tests.s3.test_path import filled


def test_objects_go_when_their_rows_are_back(
    one: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(one, purge="manual")
    one.run()
    work = one.latest()
    objects = one.objects()

    def undo(told: str = "") -> Any:
        if not told:
            return undo_of(work, "copy").do("somebody")
        with pytest.raises(Refused, match=told):
            undo_of(work, "copy").do("somebody")
        assert one.objects() == objects
        return None

    one.source.execute("CREATE TABLE away AS SELECT * FROM t WHERE id <= 40")
    assert work.purge("copy", {1}).rows_purged == 30
    objects = one.objects()
    undo(r"30 rows .* may be the last ones.*Keys: ")
    one.source.execute("INSERT INTO t SELECT * FROM away WHERE id <= 30")
    # Another value under its key is not that row; and missing receipts prove nothing.
    one.source.execute("UPDATE t SET paid = paid + 1 WHERE id = 7")
    with work.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM receipts")
    undo(r"1 rows .* may be the last ones.*Keys: 7\.")
    one.source.execute("UPDATE t SET paid = paid - 1 WHERE id = 7")
    plain, calls = rollback._missing, list[int]()

    def dies(*args: Any) -> Any:
        calls.append(1)
        # After the look, and the first batch.
        if len(calls) == 4 + 2:
            raise Transient("killed")
        return plain(*args)

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "_missing", dies)
        with pytest.raises(Transient, match="killed"):
            undo()
    assert 0 < len(one.batches()) < 4
    with pytest.raises(Refused, match="was rolled back"):
        work.purge("copy")
    done = undo()
    assert (done.removed, done.kept) == (100, 0)
    assert [key for key in one.objects() if "/run=" in key] == []
    assert one.source.value("SELECT count(*) FROM t") == 100
    # The next run archives anew.
    one.run()
    assert len(one.batches()) == 4
