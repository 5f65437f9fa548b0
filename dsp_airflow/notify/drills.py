"""A drill that failed: what that says of the archive it tried, and what to do about it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dsp_airflow.naming import BATCHES, MANIFEST, RUN, TABLE
from dsp_airflow.state.records import Run


class Verdict(Enum):
    """What the failure of a drill says."""

    WRONG = "archive is wrong"
    """What was archived does not come back as it was written."""
    NOTHING = "no archive to try"
    UNTRIED = "archive not tried"
    """It broke off for another reason, which says nothing of the archive."""


_WRONG: Final = re.compile(
    "rows differ between source and target|s3://.*(?:"
    " is gone(?! since)| was overwritten| is not what was uploaded| bytes, and had | was edited"
    "| is no manifest|_manifest.json is not there| another digest than its manifest says"
    "| and its manifest says)"
)
"""Words of errors that are about what lies in the archive."""
_NOTHING: Final = "nothing to try"


@dataclass(frozen=True, slots=True)
class Trial:
    """What one drill of a run tries."""

    of_task: str
    of_job: str
    run: str | None = None
    """The archived run; ``None`` where none was drawn."""
    connection: str = ""
    manifest: str = ""
    """Its address."""
    batches: str = ""
    target: str = ""

    @property
    def told(self) -> str:
        """In words."""
        if self.run is None:
            return f"an archive of job {self.of_job} of task {self.of_task}, and found none"
        return (
            f"{self.manifest}, batches {self.batches} of run {self.run} of task {self.of_task}, "
            f"job {self.of_job}"
        )

    @property
    def verify(self) -> str:
        """The command that reads all of the archived run."""
        place = self.manifest.rpartition("/run=")[0]
        return (
            f"dsp archive verify {self.run} --job {self.of_job} --at {shlex.quote(place)} "
            f"--connection {self.connection}"
        )


def trials_of(run: Run) -> dict[str, Trial]:
    """By the names of the run's jobs that are drills."""
    found = {}
    for job in run.definition.get("jobs", ()):
        drill = job.get("drill")
        if drill is None:
            continue
        its = run.variables.get(job["name"], {})
        drawn = (
            {
                "run": its[RUN],
                "connection": job["source"]["connection"],
                "manifest": f"s3://{job['source']['bucket']}/{its[MANIFEST]}",
                "batches": its[BATCHES],
                "target": its[TABLE],
            }
            if RUN in its
            else {}
        )
        found[job["name"]] = Trial(drill["task"], drill["job"], **drawn)
    return found


def verdict(error: str) -> Verdict:
    """By the words of the error."""
    if _NOTHING in error:
        return Verdict.NOTHING
    return Verdict.UNTRIED if _WRONG.search(error) is None else Verdict.WRONG


def safety(found: Verdict) -> str:
    """What everybody asks first: whether data is lost."""
    if found is Verdict.WRONG:
        return (
            "Careful: an archive did not come back as it was written. Rows that were purged after "
            "it was made may stand nowhere else. A drill deletes nothing from source or archive."
        )
    if found is Verdict.NOTHING:
        return (
            "No archive was tried, as none is known, so nothing is known to be wrong with one. "
            "Nothing was deleted."
        )
    return (
        "The drill could not be carried out. That says nothing of the archive, good or bad: it "
        "was not tried to the end. Nothing was deleted from source or archive."
    )


def to_do(found: Verdict, error: str, trial: Trial) -> list[str]:
    """What a person does next, the most urgent first; nothing where the usual words will do."""
    if found is Verdict.NOTHING:
        return [
            (
                f"Look at the names under drill in the task file: task {trial.of_task}, job "
                f"{trial.of_job}."
            ),
            (
                "If they are right, its rows have to be archived first. Runs that dsp db prune has "
                "removed are not known any more, and not tried."
            ),
            "This run need not be cleared: the next one looks again.",
        ]
    if found is Verdict.UNTRIED or trial.run is None:
        return []
    mend = (
        f"Look at the rows: {trial.target} stands until the next drill."
        if "rows differ" in error
        else "Bring back what was written: an earlier version of the object, or a copy of it. "
        "Rows that the source still has can be archived again by a new run."
    )
    return [
        (
            f"Keep the source: dsp task disable {trial.of_task} keeps its next run, and its purge, "
            "from beginning. Purge nothing of it by hand before you know why."
        ),
        f"See how far it goes: {trial.verify}",
        mend,
        "Then see by that command that it is whole again, and start a new run of the drill.",
    ]


def next_step(error: str) -> str | None:
    """The first of that in one sentence, for a page."""
    if verdict(error) is Verdict.WRONG:
        return "Keep the source: purge nothing of that task until you know why."
    if verdict(error) is Verdict.NOTHING:
        return "Look at the names under drill, and whether that job has archived rows yet."
    return None
