"""What must fit together where a job replaces its target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dsp_airflow.config.findings import Finding
from dsp_airflow.config.jobs import WarmJob


def replace_findings(job: WarmJob) -> Iterator[Finding]:
    """Everything in the job that contradicts ``mode: replace``, or means nothing without it."""
    if job.mode != "replace":
        if job.allow_empty:
            yield Finding(
                ("allow_empty",),
                "is only used with mode: replace; write that, or leave it out",
                involves=frozenset({"mode", "allow_empty"}),
            )
        return
    if job.purge != "none":
        yield Finding(
            ("purge",),
            "must be none with mode: replace: the next run would build the target without the "
            "rows that were deleted; use mode: full or incremental for what is to be purged",
            job.purge,
            "none",
            involves=frozenset({"mode", "purge"}),
        )
    if "on_conflict" in job.model_fields_set:
        yield Finding(
            ("on_conflict",),
            "is not used with mode: replace, which fills an empty table; leave it out",
            job.on_conflict,
            involves=frozenset({"mode", "on_conflict"}),
        )


def shared_with_replace(jobs: Sequence[tuple[int, WarmJob]]) -> list[Finding]:
    """A finding for every job, given with its index, whose target another one replaces."""
    found: list[Finding] = []
    for index, job in jobs:
        for other, by in jobs:
            # Of two that replace one table, the later one is told.
            if index == other or by.mode != "replace" or (job.mode == "replace" and index < other):
                continue
            if _target(job) == _target(by):
                message = f"jobs[{other}] replaces this table; give each job one of its own"
                found.append(Finding(("jobs", index, "target"), message, job.target_table))
                break
    return found


def _target(job: WarmJob) -> tuple[str, tuple[str, ...]]:
    return job.target.connection, job.target_name
