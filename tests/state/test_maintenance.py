"""Backup, restore, prune."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.state import receipts
from dsp_airflow.state.backup import backup, restore_backup
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.maintenance import prune
from dsp_airflow.state.outbox import MailKey, Outbox
from dsp_airflow.state.runs import Runs
from tests.servers import Database
from tests.state.samples import check_all, checked, copied, copy_all, planned, purge_all, take


def fill(runs: Runs) -> str:
    ledger = planned(runs, 3)
    ledger.copied(take(ledger, "copy"), copied())
    ledger.checked(take(ledger, "check"), checked(different=2))
    copy_all(ledger)
    check_all(ledger)
    purge_all(ledger, kept=1)
    take(planned(runs, 1), "copy")
    Outbox(runs.database).enqueue(MailKey("r", 1, "e"), ["a@example.com"], "s", "ü")
    return ledger.run_id


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_backup_moves_everything(
    runs: Runs, state_url: str, tmp_path: Path, target: str, pg15_db: Database
) -> None:
    run = fill(runs)
    made = backup(state_url, tmp_path / "state.jsonl")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []
    if target == "sqlite":
        url = f"sqlite:///{tmp_path}/restored/dsp.db"
    else:
        pg15_db.execute("CREATE DATABASE restored TEMPLATE template0")
        url = pg15_db.server.uri("restored")
    try:
        assert restore_backup(made.path, url).rows == made.rows
        with open_state(url) as other:
            again = Runs(other)
            assert again.summary(run) == runs.summary(run)
            assert again.batches(run, "flights") == runs.batches(run, "flights")
            assert again.differences(run) == runs.differences(run)
            assert receipts.verify(other) == []
            assert receipts.head(other) == receipts.head(runs.database)
            fill(again)
            assert receipts.verify(other) == []
        with pytest.raises(Refused, match="not empty"):
            restore_backup(made.path, url)
    finally:
        if target == "postgresql":
            pg15_db.server.drop_database("restored")


def test_backup_replaces_nothing(runs: Runs, state_url: str, tmp_path: Path) -> None:
    file = tmp_path / "state.jsonl"
    file.write_text("mine")
    with pytest.raises(Refused, match="exists already"):
        backup(state_url, file)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "other"])
def test_damaged_backup(tmp_path: Path, damage: str) -> None:
    url, file = f"sqlite:///{tmp_path}/dsp.db", tmp_path / "state.jsonl"
    with open_state(url, create=True) as state:
        fill(Runs(state))
    backup(url, file)
    data = file.read_bytes()
    lines = data.splitlines(keepends=True)
    file.write_bytes(
        {
            "cut": b"".join(lines[:-3]),
            "changed": data.replace(b"shop.yaml", b"shap.yaml"),
            "empty": b"",
            "other": b"\x00" * 100,
        }[damage]
    )
    with pytest.raises(ConfigError, match="not a whole backup"):
        restore_backup(file, f"sqlite:///{tmp_path}/new.db")
    assert not (tmp_path / "new.db").exists()


def age(state: StateDatabase) -> None:
    past = "2020-01-01 00:00:00.000000" + ("" if state.is_sqlite else "+00")
    with state.write() as connection:
        for table, column in (("runs", "ended_at"), ("outbox", "created_at")):
            connection.execute(
                text(f"UPDATE {table} SET {column} = '{past}' WHERE {column} IS NOT NULL")
            )


def test_prune_keeps_evidence_and_what_goes_on(runs: Runs, state: StateDatabase) -> None:
    evidence = fill(runs)
    plain, going, intent = (planned(runs, 4, percent=None) for _ in range(3))
    copy_all(intent)
    intent.purging(take(intent, "purge"), "{}")
    nothing = planned(runs, 1, percent=None)
    copy_all(nothing)
    purge_all(nothing, kept=10)
    for run in (evidence, plain.run_id, intent.run_id, nothing.run_id):
        runs.finish(run, "failed")
    outbox = Outbox(state)
    mail = outbox.claim()
    assert mail is not None
    outbox.sent(mail)
    assert prune(state, timedelta(days=1)).runs == 0
    age(state)
    young = planned(runs, 1)
    runs.finish(young.run_id, "succeeded")
    done = prune(state, timedelta(days=1))
    assert (done.runs, done.batches, done.mails) == (1, 4, 1)
    with pytest.raises(ConfigError):
        runs.get(plain.run_id)
    for kept in (evidence, going.run_id, intent.run_id, young.run_id, nothing.run_id):
        runs.get(kept)
    assert receipts.verify(state) == []
    assert prune(state, timedelta(days=1)).runs == 0
