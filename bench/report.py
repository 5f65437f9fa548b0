"""The findings: ratios within one run, beside their targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from bench.measure import Contest

FEW = 10_000


@dataclass(frozen=True)
class Finding:
    """One line. ``ratio`` above 1: ours is better; ``least``: the target for it.

    For a line without a ratio ``figure`` is compared with ``most``.
    """

    leg: str
    what: str
    ours: str
    beside: str = ""
    its: str = ""
    ratio: float | None = None
    least: float | None = None
    figure: float | None = None
    most: float | None = None
    cpu: float | None = None
    peak: float | None = None

    @property
    def target(self) -> str:
        if self.least is not None:
            return f">= {self.least:g}"
        return "" if self.most is None else f"<= {self.most:g}"

    @property
    def met(self) -> bool | None:
        if self.ratio is not None and self.least is not None:
            return self.ratio >= self.least
        if self.figure is not None and self.most is not None:
            return self.figure <= self.most
        return None

    def as_json(self) -> dict[str, Any]:
        return {
            "leg": self.leg,
            "what": self.what,
            "ours": self.ours,
            "beside": self.beside,
            "its": self.its,
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "target": self.target,
            "met": self.met,
            "cpu_seconds_per_million_rows": self.cpu,
            "peak_mb": self.peak,
        }


@dataclass
class Report:
    """Everything that was found, and the runs behind it."""

    findings: list[Finding] = field(default_factory=list)
    contests: dict[str, list[Contest]] = field(default_factory=dict)

    def runs(self, leg: str, *contests: Contest) -> None:
        self.contests.setdefault(leg, []).extend(contests)

    def rates(
        self, leg: str, what: str, ours: Contest, its: Contest, least: float | None = None
    ) -> None:
        """Rows a second, ours beside another's."""
        self._compare(leg, what, ours, its, ours.rate / its.rate, least)

    def times(
        self, leg: str, what: str, ours: Contest, its: Contest, least: float | None = None
    ) -> None:
        """Seconds for the same work; above 1 ours took less."""
        self._compare(leg, what, ours, its, its.seconds / ours.seconds, least, times=True)

    def _compare(
        self,
        leg: str,
        what: str,
        ours: Contest,
        its: Contest,
        ratio: float,
        least: float | None,
        *,
        times: bool = False,
    ) -> None:
        figure = _seconds if times else _rate
        # Of a few large rows nobody wants to know what a million would cost.
        cpu = round(ours.cpu_per_million, 2) if ours.rows >= FEW else None
        peak = None if ours.peak_mb is None else round(ours.peak_mb, 1)
        self.findings.append(
            Finding(
                leg,
                what,
                figure(ours),
                its.name,
                figure(its),
                ratio=ratio,
                least=least,
                cpu=cpu,
                peak=peak,
            )
        )

    def limit(self, leg: str, what: str, figure: float, unit: str, most: float) -> None:
        """A figure that must stay below a limit of its own."""
        self.findings.append(Finding(leg, what, f"{figure:.2f} {unit}", figure=figure, most=most))

    def absent(self, leg: str, what: str, beside: str, target: str) -> None:
        """A peer that is not there to be measured."""
        self.findings.append(Finding(leg, what, "", beside, f"not installed (target {target})"))

    def table(self, caption: str) -> Table:
        """For the terminal."""
        table = Table(title="dsp_airflow beside the limit and others", caption=caption)
        for name in ("Leg", "What", "Ours", "Beside", "Its figure"):
            table.add_column(name, overflow="fold")
        for name in ("Ratio", "Target", "CPU-s/M", "Peak MB"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        before = None
        for line in self.findings:
            if before not in (None, line.leg):
                table.add_section()
            table.add_row(
                "" if line.leg == before else line.leg,
                line.what,
                line.ours,
                line.beside,
                line.its,
                "" if line.ratio is None else f"{line.ratio:.2f}",
                line.target,
                "" if line.cpu is None else f"{line.cpu:.2f}",
                "" if line.peak is None else f"{line.peak:.1f}",
                {True: "[green]met[/]", False: "[red]not met[/]", None: ""}[line.met],
            )
            before = line.leg
        return table


def _rate(contest: Contest) -> str:
    if contest.rate >= 10_000:
        return f"{contest.rate / 1000:,.0f} k rows/s"
    return f"{contest.rate:,.0f} rows/s"


def _seconds(contest: Contest) -> str:
    return f"{contest.seconds:.2f} s"
