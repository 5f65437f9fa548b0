"""Which jobs of a task begin when others are through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from dsp_airflow.config.errors import listed, nearest
from dsp_airflow.config.findings import Finding

AFTER = (
    "Jobs of the task whose last step (check, swap or delete_missing) is done before this one's "
    "plan begins, for execution: parallel. Default: none, it begins at once."
)


@dataclass(frozen=True, slots=True)
class Place:
    """A job among those of its task: its index, and what it comes after."""

    index: int
    name: str
    after: tuple[str, ...]


def in_order(after: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The names of jobs, each behind those that it comes after."""
    return tuple(TopologicalSorter(after).static_order())


def order_findings(
    places: Sequence[Place], names: Mapping[int, str], *, serial: bool, whole: bool = True
) -> list[Finding]:
    """A finding for every ``after`` that cannot be kept.

    ``names`` are those of all jobs, by index, also of such that are wrong themselves. Unless they
    are ``whole``, an unknown one may be the one that could not be read.
    """
    first: dict[str, int] = {}
    for index, name in sorted(names.items()):
        first.setdefault(name, index)
    found: list[Finding] = []
    edges: dict[str, list[str]] = {}
    for job in places:
        for number, name in enumerate(job.after):
            why, near = _wrong(job, number, first, serial=serial)
            if why and (whole or name in first):
                found.append(Finding(_location(job, number), why, name, near))
            elif not why and first[job.name] == job.index:
                edges.setdefault(job.name, []).append(name)
    return [*found, *_circles(places, edges)]


def _wrong(
    job: Place, number: int, first: Mapping[str, int], *, serial: bool
) -> tuple[str, str | None]:
    """What is wrong with one entry by itself, and what may have been meant; or nothing."""
    name = job.after[number]
    if name == job.name:
        return "is the job itself; name another one, or leave it out", None
    if name in job.after[:number]:
        return "stands in the list already", None
    if name not in first:
        others = [other for other in first if other != job.name]
        has = f"; it has {listed(others)}" if others else ""
        near = nearest(name, others)
        return f"is no other job of the task{'' if near else has}", near
    if serial and first[name] > job.index:
        return "comes later; put it before this job, or write execution: parallel", None
    return "", None


def _circles(places: Sequence[Place], edges: dict[str, list[str]]) -> Iterator[Finding]:
    """Jobs that wait for one another: each circle is told once, where it begins in the file."""
    jobs = {job.name: job for job in reversed(places)}
    while True:
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            circle = error.args[1][:-1]
        else:
            return
        # Each comes after the one before it; told from the first in the file, by what it waits for.
        start = min(range(len(circle)), key=lambda at: jobs[circle[at]].index)
        told = [circle[(start - step) % len(circle)] for step in range(len(circle))]
        job, name = jobs[told[0]], told[1]
        yield Finding(
            _location(job, job.after.index(name)),
            f"makes jobs wait for one another for good: {' after '.join([*told, told[0]])}",
            name,
        )
        edges[job.name].remove(name)


def _location(job: Place, number: int) -> tuple[str | int, ...]:
    return ("jobs", job.index, "after", number)
