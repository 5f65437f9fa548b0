"""What must fit together where what a job writes can be undone."""

from __future__ import annotations

from collections.abc import Iterator

from dsp_airflow.config.findings import Finding
from dsp_airflow.config.jobs import WarmJob


def rollback_findings(job: WarmJob) -> Iterator[Finding]:
    """Everything in the job whose writes are not noted, and so not undone."""
    reasons = {
        "mode": (
            job.mode == "replace",
            "mode: replace drops the old table, whose rows are not kept",
        ),
        "delete_missing": (
            job.delete_missing is not None,
            "delete_missing deletes rows of others, which are not kept",
        ),
        "gridfs": (job.gridfs, "files of GridFS are not kept when they are replaced"),
    }
    for name, (found, why) in reasons.items():
        if found:
            message = f"cannot be true here: {why}; leave one of them out"
            involves = frozenset({"rollback", name})
            yield Finding(("rollback",), message, involves=involves)
