"""What tests of the whole engine share."""

from __future__ import annotations

import pytest

from dsp_airflow.engine.stores import postgres


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a batch that is being written, or for a proof, gives up soon."""
    monkeypatch.setattr(postgres, "PATIENCE", 1)
