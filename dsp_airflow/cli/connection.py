"""``dsp check-connection``: whether an Airflow connection can do its work."""

from __future__ import annotations

from dataclasses import asdict

import typer

from dsp_airflow.cli import output
from dsp_airflow.cli.surroundings import log_to_stderr, opener, quieten


def check_connection(name: str, *, as_json: bool) -> None:
    """Tells all findings; fails with the exit code of what stands in the way."""
    log_to_stderr()
    quieten()
    from dsp_airflow.connections import CHECK, check_connection

    findings = check_connection(name)
    if as_json:
        found = [asdict(one) for one in findings]
        output.write_json({"connection": name, "findings": found})
    else:
        rows = [(one.subject, one.state, one.text, one.remedy) for one in findings]
        heads = ("subject", "state", "found", "what to do")
        output.console().print(output.table(f"Connection {name}", heads, rows))
    if any(one.failed for one in findings):
        # A connection that cannot be opened says by its error whether a retry may help.
        store = opener()(name).having(CHECK)
        if store.system != "s3":
            with store.session():
                pass
        raise typer.Exit(2)
