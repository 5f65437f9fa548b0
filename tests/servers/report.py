"""Which database servers a run was tested on, told at its end, above all what was not there."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.terminal import TerminalReporter


class ServerReport:
    """A pytest plugin: fixtures tell it of servers, and so do the processes of a parallel run."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.missing: dict[str, str] = {}

    def lines(self) -> tuple[list[str], list[str]]:
        """Return what was used and what was missing, each for the eyes."""
        used = [f"Tested on {', '.join(sorted(self.used))}"] if self.used else []
        return used, [f"{name}: NOT TESTED, because {why}" for name, why in self.missing.items()]

    def merge(self, output: dict[str, Any]) -> None:
        """Add what another process told."""
        self.used |= set(output.get("servers_used", ()))
        self.missing |= output.get("servers_missing", {})

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["servers_used"] = sorted(self.used)
            output["servers_missing"] = self.missing

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.merge(getattr(node, "workeroutput", {}))

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        used, missing = self.lines()
        if used or missing:
            terminalreporter.section("servers")
        for line in used:
            terminalreporter.write_line(line)
        for line in missing:
            terminalreporter.write_line(line, red=True, bold=True)


REPORT = pytest.StashKey[ServerReport]()
