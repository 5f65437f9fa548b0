"""Any order of claims, deaths, expiries and records keeps the ledger's promises."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from sqlalchemy import update

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Batch, Claim, KeyRange
from dsp_airflow.engine.ports import Phase
from dsp_airflow.state import receipts
from dsp_airflow.state.database import open_state
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.tables import BATCHES
from tests.state.samples import JOB, ROWS, checked, copied, planned, purged

COUNT = 4
PHASES: tuple[Phase, ...] = ("copy", "check", "purge")
BEFORE: dict[Phase, Phase | None] = {"copy": None, "check": "copy", "purge": "check"}


class Claims(RuleBasedStateMachine):
    """A model of each batch beside the real thing: its token, holder and finished phases."""

    claims: Bundle[tuple[int, Phase, Claim]] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{Path(self.folder.name) / 'dsp.db'}"
        self.database = open_state(url, create=True)
        self.runs = Runs(self.database)
        first = planned(self.runs, COUNT)
        self.run = first.run_id
        self.ledgers = [first, SqlLedger(self.database, self.run, JOB)]
        self.tokens = dict.fromkeys(range(1, COUNT + 1), 0)
        self.held: dict[int, tuple[int, int]] = {}
        self.done = {phase: set[int]() for phase in PHASES}

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    def _ready(self, phase: Phase) -> list[int]:
        before = BEFORE[phase]
        ready = set(self.tokens) if before is None else self.done[before]
        return sorted(ready - self.done[phase])

    @rule(target=claims, who=st.integers(0, 1), phase=st.sampled_from(PHASES))
    def claim(self, who: int, phase: Phase) -> tuple[int, Phase, Claim]:
        free = [n for n in self._ready(phase) if n not in self.held]
        got = self.ledgers[who].claim(phase)
        assert self.ledgers[who].waiting(phase) == len(self._ready(phase))
        if got is None:
            assert free == []
            return who, phase, Claim(Batch(1, KeyRange(), 0), "nobody", 0)
        assert got.batch.number == free[0]
        self.tokens[free[0]] += 1
        assert got.token == self.tokens[free[0]]
        self.held[free[0]] = (who, got.token)
        return who, phase, got

    @rule(number=st.integers(1, COUNT))
    def expire(self, number: int) -> None:
        if number not in self.held:
            return
        with self.database.write() as connection:
            connection.execute(
                update(BATCHES)
                .where(BATCHES.c.number == number)
                .values(lease_until=self.database.now() - timedelta(seconds=1))
            )
        # Its holder may still record, until somebody else takes it.
        del self.held[number]

    @rule(claim=consumes(claims), gives_up=st.booleans())
    def settle(self, claim: tuple[int, Phase, Claim], gives_up: bool) -> None:
        who, phase, held = claim
        number, ledger = held.batch.number, self.ledgers[who]
        holds = held.token == self.tokens.get(number) and held.token > 0
        try:
            if gives_up:
                ledger.release(held, "gave up")
            elif phase == "copy":
                ledger.copied(held, copied())
            elif phase == "check":
                ledger.checked(held, checked())
            else:
                ledger.purged(held, purged(ledger, held))
        except Transient:
            assert not holds
            return
        assert holds
        self.held.pop(number, None)
        if not gives_up:
            self.done[phase].add(number)

    @invariant()
    def counts_are_true(self) -> None:
        [job] = self.runs.summary(self.run).jobs
        assert job.rows_written == ROWS * len(self.done["copy"])
        assert job.rows_checked == ROWS * len(self.done["check"])
        assert job.rows_purged == ROWS * len(self.done["purge"])
        assert receipts.head(self.database).seq == len(self.done["purge"])
        assert receipts.verify(self.database) == []


TestClaims = Claims.TestCase
TestClaims.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
