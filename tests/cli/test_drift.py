"""`dsp drift`: what changed of the tables since the last run."""

from __future__ import annotations

from tests.cli.harness import Dsp, job


def test_it_is_shown_and_accepted(dsp: Dsp) -> None:
    dsp.fill(10)
    file = dsp.write(job())
    assert "no run has read it yet" in dsp("drift", file).out
    assert dsp("run", file).code == 0
    assert "as it was" in dsp("drift", file).out
    dsp.source.execute("ALTER TABLE t DROP COLUMN name", "ALTER TABLE t ADD COLUMN more int")
    refused = dsp("run", file, "--new")
    assert refused.code == 4
    assert "column name dropped; column more added (integer)" in refused.err
    assert "--accept" in refused.err
    assert dsp("plan", file).code == 4
    (found,) = dsp("drift", file, "--json").document["jobs"]
    assert [change["kind"] for change in found["changes"]] == ["dropped", "added"]
    assert not found["accepted"]
    assert "accepted" in dsp("drift", file, "--accept").out
    assert "as it was" in dsp("drift", file).out
    dsp.target.execute("ALTER TABLE t ADD COLUMN more int")
    assert dsp("run", file, "--new").code == 0
    assert dsp.target.value("SELECT count(name) FROM t") == 10
