"""Tasks that somebody switched off and on."""

from __future__ import annotations

import pytest

from dsp_airflow.engine.errors import Refused, SwitchedOff
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.switches import Switches


def test_switching(state: StateDatabase) -> None:
    tasks = Switches(state)
    assert (tasks.of("shop"), tasks.all()) == (None, {})
    tasks.require_enabled("shop")
    off = tasks.set("shop", "disabled", "ann", "moving house")
    assert tasks.of("shop") == off == tasks.all()["shop"]
    with pytest.raises(SwitchedOff, match=r"task shop is disabled by ann at .* \(moving house\)"):
        tasks.require_enabled("shop")
    tasks.require_online("shop")
    tasks.require_enabled("other")
    tasks.set("shop", "enabled", "ben")
    tasks.require_enabled("shop")
    assert len(tasks.all()) == 1


def test_offline_does_not_come_back_by_itself(state: StateDatabase) -> None:
    tasks = Switches(state)
    tasks.set("shop", "offline", None, "gone")
    for wanted in ("enabled", "disabled"):
        with pytest.raises(Refused, match="comes back only by dsp task enable shop --from-offline"):
            tasks.set("shop", wanted, "ann")
    for require in (tasks.require_enabled, tasks.require_online):
        with pytest.raises(SwitchedOff, match="enable shop --from-offline"):
            require("shop")
    tasks.set("shop", "offline", "ben", "still gone")
    tasks.set("shop", "enabled", "ann", back=True)
    tasks.require_online("shop")
