"""The mail's words, for somebody who was asleep a minute ago."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dsp_airflow.engine.drift import DRIFTED
from dsp_airflow.notify import by_hand, drills
from dsp_airflow.notify.drills import Trial
from dsp_airflow.notify.end import BY_HAND, DEADLOCKED, FAILED, TIMED_OUT, End
from dsp_airflow.notify.plain import one_line
from dsp_airflow.notify.remedies import CLEAR, TIMEOUT, remedy
from dsp_airflow.state.landmarks import Landmarks
from dsp_airflow.state.records import JobSummary, RunSummary
from dsp_airflow.state.repairs import Repair
from dsp_airflow.state.rollbacks import Rollback

if TYPE_CHECKING:
    from dsp_airflow.notify.ended import Act, Event, RunEnded

WIDTH = 76
_BETWEEN = {
    "planned": "planned, and nothing of it was copied yet",
    "copied": "copied, and the next step had not begun",
    "checked": "copied and checked, and the next step had not begun",
}
"""States in which nobody works on a job."""
REASONS = 8
"""Reasons for which rows were kept that are listed."""
MAX_ERROR = 1500
"""Characters of an error; the whole of it is in ``dsp status``."""


@dataclass(frozen=True)
class Facts:
    """What the state database knows; without a ``summary`` it knows no run."""

    summary: RunSummary | None = None
    landmarks: Mapping[str, Landmarks] = field(default_factory=dict)
    now: str = ""
    reachable: bool = True
    stopped: str | None = None
    """Who asked it to stop and why, where that ended it."""
    stopped_by: str | None = None
    trials: Mapping[str, Trial] = field(default_factory=dict)
    """Of the run's jobs that are drills, what each of them tries."""
    rollbacks: tuple[Rollback, ...] = ()
    """Of the jobs of a run that a rollback by hand was about."""
    repairs: tuple[Repair, ...] = ()
    """Of the jobs of a run that a repair by hand was about."""

    @property
    def jobs(self) -> tuple[JobSummary, ...]:
        """Those of the run that were begun."""
        return self.summary.jobs if self.summary else ()

    @property
    def purged(self) -> int:
        """Rows deleted from the source, by all jobs."""
        return sum(job.rows_purged for job in self.jobs)

    @property
    def kept(self) -> int:
        """Rows that a purge left in the source."""
        return sum(job.rows_kept for job in self.jobs)

    @property
    def different(self) -> int:
        """Rows that differ between source and target."""
        return sum(job.rows_different for job in self.jobs)


def subject(ended: RunEnded, end: End, facts: Facts) -> str:
    """The end first, as phones show but the beginning."""
    notes = []
    if end.by_hand:
        notes.append("marked by hand")
    elif facts.stopped:
        notes.append(f"by {one_line(facts.stopped_by)}" if facts.stopped_by else "by hand")
    elif ended.event == "failure" and end.reason == TIMED_OUT:
        notes.append("timed out")
    elif ended.event == "failure" and _trial(facts):
        notes.append(drills.verdict(_error(ended, end, facts)).value)
    elif ended.event == "failure" and DRIFTED in _error(ended, end, facts):
        notes.append("the table changed")
    elif ended.event == "failure" and facts.different and ended.act != "rollback":
        notes.append("rows differ")
    elif ended.event == "success" and (kept := _kept(ended, facts)):
        notes.append(f"{_rows(kept)} kept")
    note = f" ({notes[0]})" if notes else ""
    word = "FAILED" if ended.event == "failure" else "OK"
    if facts.stopped and not end.by_hand:
        word = "TERMINATED"
    return f"[dsp] {word}{note}: {_title(ended)}"


def body(ended: RunEnded, end: End, facts: Facts) -> str:
    """Plain text, lines of no more than ``WIDTH`` characters but for what cannot be broken."""
    failed = ended.event == "failure"
    word = "FAILED" if failed else "succeeded"
    if end.by_hand:
        word = f"was marked as {'FAILED' if failed else 'succeeded'} by hand"
    elif facts.stopped:
        word = f"was TERMINATED by {one_line(facts.stopped_by or 'hand')}"
    safety = _safety(ended, facts, failed=failed)
    if failed and facts.reachable and _trial(facts):
        safety = drills.safety(drills.verdict(_error(ended, end, facts)))
    parts = [_wrapped(f"{_title(ended)} {word}."), _wrapped(safety)]
    if failed or end.by_hand:
        parts.append(_section("WHAT HAPPENED", _happened(ended, end, facts)))
        parts.append(_section("WHAT TO DO", _to_do(ended, end, facts)))
    elif left := _left(ended, facts):
        parts.append(_section("WHAT TO DO", left))
    parts.append(_where(end, facts))
    told = by_hand.sections(facts)
    parts += [_section(head, lines, bullets=False) for head, lines in told]
    parts += [_job(job, facts) for job in facts.jobs]
    parts.append(_run(ended, end, facts))
    return "\n\n".join(parts) + "\n"


def reason(end: End, event: Event = "failure") -> str:
    """Airflow's word for the end, in ours."""
    words = {
        BY_HAND: f"somebody marked the run as {'failed' if event == 'failure' else 'succeeded'} "
        "in Airflow",
        TIMED_OUT: "the run took longer than its timeout, and Airflow stopped it",
        DEADLOCKED: "no step of the run could go on (Airflow calls it a deadlock)",
        FAILED: "a step ended without a word: its process was killed or lost, or somebody marked "
        "it as failed",
    }
    return words.get(end.reason, f"Airflow says: {end.reason.replace('_', ' ')}")


def _title(ended: RunEnded) -> str:
    title = one_line(ended.title)
    return f"{title} ({by_hand.TITLES[ended.act]})" if ended.by_hand else title


def _kept(ended: RunEnded, facts: Facts) -> int:
    """Rows that stayed as they were: in the source by a purge, in the target by a rollback."""
    if ended.act == "rollback":
        return sum(one.kept for one in facts.rollbacks)
    return 0 if ended.act == "repair" else facts.kept


def _left(ended: RunEnded, facts: Facts) -> list[str]:
    """What there is to do though it succeeded."""
    if ended.act in ("rollback", "repair"):
        return by_hand.to_do(ended.act, facts)
    return ["Nothing. The next run copies the kept rows as they are then."] if facts.kept else []


def _safety(ended: RunEnded, facts: Facts, *, failed: bool) -> str:
    """Whether the data is safe: what everybody asks first."""
    if not facts.reachable:
        return (
            "Your data is safe: rows are only ever deleted after they were proved to stand in the "
            "target. The state database could not be used, so there are no counts in this mail."
        )
    if ended.act == "rollback":
        return by_hand.undone(facts)
    deleted = (
        f"{_rows(facts.purged)} deleted from the source, each proved to stand in the target first."
        if facts.purged
        else "Nothing was deleted from the source."
    )
    if facts.different:
        verb = "differs" if facts.different == 1 else "differ"
        return f"Careful: {_rows(facts.different)} {verb} between source and target. {deleted}"
    if ended.act == "repair":
        return by_hand.repaired(facts, failed=failed)
    if failed:
        return f"Your data is safe. {deleted}"
    copied = sum(job.rows_written for job in facts.jobs)
    checked = sum(job.rows_checked for job in facts.jobs)
    did = "copied" if not facts.trials else "restored from archives"
    done = f"{_rows(copied)} {did}, {checked:,} compared and equal. {deleted}"
    return f"{done} {_rows(facts.kept)} kept in the source." if facts.kept else done


def _happened(ended: RunEnded, end: End, facts: Facts) -> list[str]:
    lines = [f"Job {job.name} {_stopped(job, facts)}." for job in _unfinished(facts)]
    lines += [f"Job {name} tried {trial.told}." for name, trial in _tried(facts).items()]
    if ended.act == "rollback":
        # How far the run had come says nothing of how far it was undone.
        lines = []
    if facts.stopped and not end.by_hand:
        lines.append(f"It stopped at the edge of a batch, as {one_line(facts.stopped)}.")
        return lines
    if end.step and ended.event == "failure":
        lines.append(f"The last step was {end.step}.")
    error = _error(ended, end, facts)
    if error:
        if TIMEOUT in error:
            lines.append("A step took longer than its execution_timeout, and Airflow ended it.")
        if len(error) > MAX_ERROR:
            error = f"{error[:MAX_ERROR]} ..."
        lines.append(f"The error: {error}")
    if not error or end.reason in {BY_HAND, TIMED_OUT}:
        said = reason(end, ended.event)
        if ended.by_hand and end.reason == FAILED:
            # The run was through before, so it is not told there.
            said = "what it came to is in the log of the step"
        lines.append(f"{said[0].upper()}{said[1:]}.")
    if facts.reachable and not facts.jobs:
        lines.append("No job was planned yet: nothing was copied.")
    if end.by_hand and _unfinished(facts):
        lines.append("Steps that still work stop at the end of their batch, or sooner.")
    return lines


def _to_do(ended: RunEnded, end: End, facts: Facts) -> list[str]:
    again = "fill in the form again" if ended.by_hand else "clear the DAG run in Airflow"
    if ended.event == "success":
        return [f"Nothing, if that was meant. To finish the work, {again}: it goes on."]
    if end.by_hand:
        return [
            f"Ask who marked it, and why. To go on, {again}; what is done stays done.",
            _safe(facts),
        ]
    if facts.stopped:
        return [
            f"Nothing, if that was meant. To go on, {again}; what is done stays done.",
            _safe(facts),
        ]
    if end.reason == TIMED_OUT:
        return [
            "Find out what was slow, or raise timeout in the task file.",
            f"Then {again}; it goes on where it stopped.",
            _safe(facts),
        ]
    trial = _trial(facts)
    if trial:
        error = _error(ended, end, facts)
        told = drills.to_do(drills.verdict(error), error, trial)
        if told:
            return told
    known = remedy(_error(ended, end, facts))
    first = known.do if known else _look(_error(ended, end, facts))
    then = known.then if known else CLEAR
    if ended.by_hand:
        then = by_hand.AGAIN[ended.act]
    lines = [first, then, _safe(facts, ended.act)]
    if facts.different and facts.summary and ended.act != "rollback":
        lines.insert(1, f"Which rows: dsp status {facts.summary.run} --differences")
    return lines


def _look(error: str) -> str:
    if error:
        return "Read the error above, and the log of the step."
    return "Look at the log of the step, and whether the machine ran out of memory or restarted."


def _safe(facts: Facts, act: Act = "run") -> str:
    if act == "rollback":
        return "A retry is safe at any time: nothing is undone that the source does not have."
    if act == "repair" and facts.different:
        return "A retry is safe: it copies what differs from the source once more."
    if facts.different:
        return (
            "A retry is safe: it only compares again, and fails again while rows differ. Do not "
            "purge by hand before you know why."
        )
    return "A retry is safe at any time: no row is written twice, none is deleted unproved."


def _error(ended: RunEnded, end: End, facts: Facts) -> str:
    """As it was recorded; nothing when the run ended without a word."""
    if ended.act == "rollback":
        # Of the run itself; why it was not undone is in the log.
        return ""
    errors = [job.error for job in facts.jobs if job.error]
    if facts.summary and facts.summary.error and not ended.by_hand:
        errors.append(facts.summary.error)
    return next((one_line(e) for e in errors if e != reason(end, ended.event)), "")


def _tried(facts: Facts) -> dict[str, Trial]:
    """What the drills try that are not through: of a run that never began, all of them."""
    through = {job.name for job in facts.jobs if job.state == "succeeded"}
    return {name: trial for name, trial in facts.trials.items() if name not in through}


def _trial(facts: Facts) -> Trial | None:
    """What the drill tries whose end is that of the run."""
    tried = _tried(facts)
    failed = [job.name for job in facts.jobs if job.error]
    if failed and failed[0] not in tried:
        return None
    return next((tried[name] for name in failed), next(iter(tried.values()), None))


def _unfinished(facts: Facts) -> list[JobSummary]:
    return [job for job in facts.jobs if job.state != "succeeded"]


def _stopped(job: JobSummary, facts: Facts) -> str:
    """Where it is, from what its batches say: a killed process leaves its job as it was."""
    marks = facts.landmarks[job.name]
    if not job.batches:
        return "stopped before it was planned" if job.error else "was not begun"
    if job.state in _BETWEEN:
        return f"was {_BETWEEN[job.state]}"
    if job.batches_copied < job.batches:
        doing = "copying"
    elif marks.checks and (job.rows_different or job.batches_checked < job.batches):
        doing = "checking"
    elif job.replaces:
        doing = "putting the new table in the target's place"
    else:
        doing = "deleting from the source"
    number = marks.different if job.rows_different else marks.failed or marks.in_hand
    where = f", at batch {number:,} of {job.batches:,}" if number else ""
    return f"stopped while {doing}{where}"


def _job(job: JobSummary, facts: Facts) -> str:
    marks = facts.landmarks[job.name]
    trial = facts.trials.get(job.name)
    lines = [
        (
            f"{'copied  ' if trial is None else 'restored'} {job.rows_written:,} of "
            f"{_rows(job.rows_total)}"
        ),
        f"checked  {_rows(job.rows_checked)} compared, {job.rows_different:,} differ"
        if marks.checks
        else "checked  no, the job has no check",
        *_left_out("damaged  {} in the source, neither copied nor deleted:", marks.damaged),
        *_left_out("left out {} of the source, neither archived nor deleted:", marks.kept_back),
        *(_ended(job) if trial is None else [f"to       {trial.target}"]),
    ]
    if job.rows_kept:
        lines[-1] += " that a purge should have deleted:"
        lines += _reasons(marks.kept)
        more = job.rows_kept - sum(count for _, count in marks.kept)
        if more > 0:
            lines.append(f"         - {more:,} more, without a report")
    if job.rows_missing:
        lines.append(
            f"target   {_rows(job.rows_deleted)} deleted there of {job.rows_missing:,} that the "
            "source does not have"
        )
    lines.append(
        f"batches  {job.batches_copied:,} of {job.batches:,} copied, {job.batches_checked:,} "
        f"checked, {job.batches_purged:,} purged"
        if trial is None
        else f"batches  {job.batches_copied:,} of {job.batches:,} restored, "
        f"{job.batches_checked:,} checked"
    )
    if marks.last is not None:
        lines.append(
            f"         last: batch {marks.last:,}, {marks.last_phase} "
            f"{marks.last_at:%Y-%m-%d %H:%M:%S} UTC"
        )
    if marks.failed is not None:
        lines.append(f"         failed: batch {marks.failed:,}")
    # Of a killed process the state still says what it was at.
    was = "was " if job.state in {"copying", "checking", "purging"} else ""
    return _section(f"JOB {job.name}: {was}{job.state}", lines, bullets=False)


def _ended(job: JobSummary) -> list[str]:
    """What became of the source's rows, or of the target."""
    if job.replaces:
        done = "yes, the new table is in the target's place" if job.swapped_at else "no"
        return [f"swapped  {done}"]
    return [
        f"deleted  {_rows(job.rows_purged)} from the source",
        *(
            [f"gone     {_rows(job.rows_gone)}, removed by hand and marked"]
            if job.rows_gone
            else []
        ),
        f"kept     {_rows(job.rows_kept)} in the source",
    ]


def _left_out(line: str, found: Sequence[tuple[str, int]]) -> list[str]:
    """Only files are damaged, or kept back."""
    if not found:
        return []
    return [line.format(_rows(sum(count for _, count in found))), *_reasons(found)]


def _reasons(found: Sequence[tuple[str, int]]) -> list[str]:
    """The most frequent ones: of damaged files each may have one of its own."""
    lines = [f"         - {count:,} {one_line(why)}" for why, count in found[:REASONS]]
    rest = sum(count for _, count in found[REASONS:])
    return [*lines, f"         - {rest:,} for other reasons"] if rest else lines


def _where(end: End, facts: Facts) -> str:
    commands = [f"or run: dsp status {facts.summary.run}"] if facts.summary else []
    return _section("WHERE TO LOOK", [end.link, *commands], bullets=False)


def _run(ended: RunEnded, end: End, facts: Facts) -> str:
    run = facts.summary
    lines = [f"task     {ended.task}"]
    if run:
        lines.append(f"run      {run.run}, attempt {run.attempt}")
    lines.append(f"Airflow  {end.run_id}")
    if run and run.started_at:
        lines.append(f"began    {run.started_at:%Y-%m-%d %H:%M:%S} UTC")
    if run and run.ended_at:
        lines.append(f"ended    {run.ended_at:%Y-%m-%d %H:%M:%S} UTC")
    if facts.now:
        lines.append(f"counted  {facts.now}")
    return _section("THE RUN", lines, bullets=False)


def _section(head: str, lines: list[str], *, bullets: bool = True) -> str:
    first, following = ("- ", "  ") if bullets else ("", " " * 9)
    return "\n".join([head, *(_wrapped(line, first, following) for line in lines)])


def _wrapped(text: str, first: str = "", following: str = "") -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
