"""Rows that are chosen by other rows: those that belong to another job's, and the newest ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from dsp_airflow.config.base import Model
from dsp_airflow.config.errors import listed, nearest
from dsp_airflow.config.findings import Finding

_Text = Annotated[str, Field(min_length=1)]
BelongsTo: TypeAlias = Annotated[
    _Text | None,
    Field(
        description=(
            "A job of the task: of this job are rows alone that refer, by a foreign key, to rows "
            "of that one; where and belongs_to of both hold. Default: the table's own columns "
            "decide."
        ),
        examples=["orders"],
    ),
]


class KeepNewest(Model):
    """Rows that are no job's, however old they are, as none of their group is newer."""

    by: _Text = Field(
        description="Column that tells which row is newer. Rows in which it is NULL stay, too.",
        examples=["start_date"],
    )
    per: Annotated[
        tuple[_Text, ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    ] = Field(
        default=(),
        description=(
            "Columns whose values make a group. Rows in which one is NULL stay. Default: the whole "
            "table is one."
        ),
        examples=[["dag_id"]],
    )


KeepNewestOption: TypeAlias = Annotated[
    KeepNewest | None,
    Field(
        description=(
            "The newest row of each group stays, whatever where says: {by: start_date, per: "
            "[dag_id]}. Rows as new as the newest stay with it. Default: where decides alone."
        ),
        examples=[{"by": "start_date", "per": ["dag_id"]}],
    ),
]


@dataclass(frozen=True, slots=True)
class Kin:
    """A job among those of its task: where its rows and those it belongs to would have to be."""

    index: int
    name: str
    belongs_to: str | None
    kind: str
    """Jobs of one kind have parents of that kind."""
    connection: str
    whole: bool
    """It looks at all of its table in each run."""


def ancestors(name: str, jobs: Sequence[Any]) -> list[Any]:
    """The job that one belongs to, and so on up to one that belongs to none."""
    by_name = {job.name: job for job in jobs}
    found: list[Any] = []
    above = by_name[name].belongs_to
    while above is not None and above in by_name and by_name[above] not in found:
        found.append(by_name[above])
        above = by_name[above].belongs_to
    return found


def children(name: str, jobs: Sequence[Any]) -> list[Any]:
    """The jobs that belong to one, also through others, each behind the one it belongs to."""
    found: list[Any] = []
    for job in jobs:
        if job.belongs_to == name:
            found += [job, *children(job.name, jobs)]
    return found


def belonging_findings(
    jobs: Sequence[Kin], names: Mapping[int, str], *, whole: bool = True
) -> list[Finding]:
    """A finding for every ``belongs_to`` that cannot be.

    ``names`` are those of all jobs, by index, also of such that are wrong themselves. Unless they
    are ``whole``, an unknown one may be the one that could not be read.
    """
    kin = {one.name: one for one in reversed(jobs)}
    found = []
    for one in jobs:
        above = one.belongs_to
        if above is None:
            continue
        place = ("jobs", one.index, "belongs_to")
        if above in kin:
            why = _unfit(one, kin[above]) or _circle(one, kin)
            found += [Finding(place, why, above)] if why else []
        elif whole and above not in names.values():
            others = [name for name in names.values() if name != one.name]
            near = nearest(above, others)
            has = f"; it has {listed(others)}" if others and not near else ""
            found.append(Finding(place, f"is no other job of the task{has}", above, near))
    return found


def _unfit(one: Kin, above: Kin) -> str:
    if above is one:
        return "is the job itself; name another one, or leave it out"
    if above.kind != one.kind:
        return "is no job of this type; a restore belongs to a restore, any other to one of tables"
    if above.connection != one.connection:
        return (
            f"is on connection {above.connection}, and this job on {one.connection}; rows that "
            "refer to one another lie in one database"
        )
    if not (above.whole and one.whole):
        return "needs mode: full in both jobs, as others look at a part of their table"
    return ""


def _circle(one: Kin, kin: Mapping[str, Kin]) -> str:
    path, above = [one.name], one.belongs_to
    while above is not None and above in kin and above not in path:
        path.append(above)
        above = kin[above].belongs_to
    # Told where it begins in the file.
    if above is None or above != one.name or min(kin[name].index for name in path) != one.index:
        return ""
    return f"makes jobs belong to one another: {' to '.join([*path, above])}"


def choice_findings(job: Any) -> Iterator[Finding]:
    """What cannot be beside ``belongs_to`` and ``keep_newest`` in one job of a table."""
    for name in ("belongs_to", "keep_newest"):
        if getattr(job, name) is None:
            continue
        reasons = {
            "mode": (
                job.mode not in ("full", "replace"),
                "looks at a part of the table, and rows become ones of the job by others",
            ),
            "gridfs": (getattr(job, "gridfs", False), "is for buckets, which have no foreign keys"),
            "delete_missing": (
                getattr(job, "delete_missing", None) is not None,
                "takes rows that are not the job's for missing ones",
            ),
        }
        for other, (given, why) in reasons.items():
            if given:
                yield Finding(
                    (name,),
                    f"must not be given with {other}{': ' + job.mode if other == 'mode' else ''}, "
                    f"which {why}",
                    involves=frozenset({name, other}),
                )
