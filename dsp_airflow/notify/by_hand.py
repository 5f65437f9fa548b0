"""What a mail says of a rollback or a repair, besides what it says of every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dsp_airflow.notify.plain import one_line
from dsp_airflow.state.repairs import Repair
from dsp_airflow.state.rollbacks import Rollback

if TYPE_CHECKING:
    from dsp_airflow.notify.ended import Act
    from dsp_airflow.notify.text import Facts

TITLES: Mapping[Act, str] = {
    "purge": "manual deletion",
    "rollback": "rollback",
    "repair": "repair",
}
AGAIN: Mapping[Act, str] = {
    "purge": "Then fill in the form again; what was deleted is not asked for twice.",
    "rollback": "Then fill in the form again: it undoes what is left.",
    "repair": "Then fill in the form again: it goes on where it was.",
}
_REASONS = 8


def undone(facts: Facts) -> str:
    """What became of a run's rows: what everybody asks first after a rollback."""
    if not facts.rollbacks:
        return "Your data is safe: nothing was undone."
    removed, restored, kept = (
        sum(getattr(one, name) for one in facts.rollbacks)
        for name in ("removed", "restored", "kept")
    )
    if any(one.ended_at is None for one in facts.rollbacks):
        return "Your data is safe. The rollback is not through: no run writes there until it is."
    told = (
        f"{_rows(removed)} removed that the run had inserted, {restored:,} set back that it had "
        "updated; the source had each of them at that moment."
    )
    return f"{told} {_rows(kept)} kept." if kept else told


def repaired(facts: Facts, *, failed: bool) -> str:
    """Whether source and target are alike by now; ``facts.different`` rows are not."""
    ended = [one for one in facts.repairs if one.ended_at is not None]
    if failed or not ended:
        return "Your data is safe: a repair deletes nothing."
    rows, batches = sum(one.rows_found for one in ended), sum(len(one.batches) for one in ended)
    return (
        f"{_rows(rows)} had differed. {batches:,} batches were copied once more and compared: "
        "nothing differs now. A repair deletes nothing."
    )


def to_do(act: Act, facts: Facts) -> list[str]:
    """What is left to do after one that succeeded."""
    if act == "rollback":
        run = facts.summary.run if facts.summary else ""
        again = next((one.again for one in facts.rollbacks if one.again), None)
        lines = [
            f"Nothing. Run {again} does the work again."
            if again
            else "Nothing. The run is over: a new one does its work, where that is wanted."
        ]
        if any(one.kept for one in facts.rollbacks):
            lines.append(
                "What kept rows were before stays beside the target until somebody says "
                f"dsp rollback {run} --forget"
            )
        return lines
    if act == "repair" and facts.summary and facts.summary.state != "succeeded":
        goes_on = "clear the failed steps of its own DAG run in Airflow, or press Retry on its page"
        return [f"The run goes on with what follows the check: {goes_on}."]
    return []


def sections(facts: Facts) -> list[tuple[str, list[str]]]:
    """Heads and lines, a section for each job."""
    return [*map(_of_rollback, facts.rollbacks), *map(_of_repair, facts.repairs)]


def _of_rollback(one: Rollback) -> tuple[str, list[str]]:
    state = "undone" if one.ended_at else "was being undone"
    lines = [
        f"removed  {_rows(one.removed)}",
        f"restored {_rows(one.restored)}",
        f"kept     {_rows(one.kept)}" + (":" if one.report else ""),
        *_reasons(one.report, one.kept),
        f"target   {one_line(one.target)}",
        f"by       {one_line(one.begun_by)}",
    ]
    if one.again:
        lines.append(f"again    run {one.again}")
    return f"ROLLBACK OF JOB {one.job}: {state}", lines


def _of_repair(one: Repair) -> tuple[str, list[str]]:
    lines = [
        f"batches  {len(one.batches):,} copied once more",
        f"rows     {one.rows_found:,} had differed, {one.rows_left:,} differ now"
        if one.ended_at
        else f"rows     {one.rows_found:,} had differed",
        f"by       {one_line(one.begun_by)}",
    ]
    state = "through" if one.ended_at else "not through"
    return f"REPAIR OF JOB {one.job}: {state}", lines


def _reasons(report: Sequence[Mapping[str, object]], kept: int) -> list[str]:
    counted = Counter(str(one["why"]) for one in report).most_common(_REASONS)
    lines = [f"         - {count:,} {one_line(why)}" for why, count in counted]
    rest = kept - sum(count for _, count in counted)
    return [*lines, f"         - {rest:,} more"] if lines and rest > 0 else lines


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
