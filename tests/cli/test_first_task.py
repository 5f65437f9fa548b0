"""docs/first-task.md does what it says: every command and statement of it, in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.cli.harness import Dsp

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first-task.md"
GATES = ("AIRFLOW__DSP__ENFORCE_APPROVAL", "AIRFLOW__DSP__ENFORCE_GRANTS")
BLOCK = re.compile(r"```(sh|sql|yaml|text)\n(.*?)```", re.DOTALL)


def test_your_first_task(dsp: Dsp) -> None:
    text = PAGE.read_text()
    dsp.connections = {"shop": dsp.source.uri, "warehouse": dsp.target.uri}
    # As a new installation has them, until the page says otherwise.
    gates = dict.fromkeys(GATES, "")
    out = ""
    ran = []
    for kind, block in BLOCK.findall(text):
        if kind == "yaml":
            (dsp.folder / "orders.yaml").write_text(block)
        elif kind == "sql" and "DATABASE" not in block:
            dsp.source.execute(block)
        elif kind == "text":
            for line in block.splitlines():
                assert line in out.splitlines(), (line, out)
        elif kind == "sh":
            out = ""
            gates |= dict(re.findall(r"^export (AIRFLOW__DSP__\w+)=(\w+)$", block, re.MULTILINE))
            for command in re.findall(r"^dsp (.+)$", block, re.MULTILINE):
                done = dsp(*shlex.split(command), env=gates)
                assert done.code == 0, (command, done.err)
                out += done.out + done.err
                ran.append(command.split()[0])
            if "--differences" in block:
                assert re.search(r"changed in the source since\s+the copy", out)
                counts = [dsp.source.value("SELECT count(*) FROM orders")]
                counts.append(dsp.target.value("SELECT count(*) FROM orders_archive"))
                assert f"stand {counts[0]:,} orders now, in `warehouse` {counts[1]:,}" in text
    assert {"lint", "plan", "run", "purge", "status", "check-connection", "db"} <= set(ran)
    assert dsp.source.value("SELECT count(*) FROM orders WHERE placed_at < '2024-07-01'") == 0
    assert dsp.target.value("SELECT total FROM orders_archive WHERE id = 17") == 0
