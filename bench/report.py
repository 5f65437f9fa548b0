"""The findings: ratios within one run, beside their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.measure import Contest

FEW = 10_000
WHY = {
    (
        "purge",
        "DELETE by key range",
    ): "Two digests of every row are most of a proved delete's work.",
    ("copy", "GenericTransfer"): (
        "Its provider inserts in psycopg 3's pipeline mode: six times as fast as when the target"
        " was set."
    ),
    ("archive", "the same files on a local disk"): (
        "The S3 server hashes all that comes, on the same two cores; the spread is larger than what"
        " is missing."
    ),
    ("archive", "SqlToS3Operator"): (
        "As installed it writes two to three times the rows a second that it did when the target"
        " was set."
    ),
    ("mysql", "SELECT INTO OUTFILE"): (
        "Both spend most of it on LOAD DATA, which has one thread; ours reads meanwhile, which only"
        " a free processor makes up for."
    ),
    ("mysql", "psql COPY CSV | LOAD DATA"): (
        "Ours tests texts and JSON numbers for what MariaDB cannot hold, and relays through Python."
    ),
    ("mysql", "the same rows"): (
        "The server renders and Arrow parses what the other has in memory: five times its CPU."
    ),
    ("mysql", "pgloader"): (
        "The servers' rendering and loading keep both cores busy; pgloader's rows a second differ"
        " between machines more than ours."
    ),
    ("mysql", "reladiff"): (
        "Both read all rows of both sides: all of it is the servers' CPU. Ours compares bytes and"
        " JSON, too."
    ),
    ("mysql", "pt-archiver --bulk-delete"): (
        "It proves nothing; two digests of every row are more than half of ours."
    ),
    ("check", "reladiff"): (
        "Both read all rows of both sides: all of it is the servers' CPU. The check of a run, whose"
        " copy took the digests, reads one side."
    ),
    ("check", "sum(hash_record_extended)"): (
        "It hashes columns as they are and scans the whole table; ours renders them exactly and"
        " goes by batch."
    ),
}
"""Measured reasons, by leg and peer; more about them in docs/performance.md."""
COLUMNS = (
    *("Ours", "Beside", "Its figure", "Ratio", "Target"),
    *("CPU-s/M", "Server CPU-s/M", "Peak MB", "Spread"),
)


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
    server: float | None = None
    peak: float | None = None
    spread: float | None = None
    """The larger of both contestants' spreads."""
    failed: str | None = None
    """Why the peer has no figure."""

    @property
    def target(self) -> str:
        if self.least is not None:
            return f">= {self.least:g}"
        return "" if self.most is None else f"<= {self.most:g}"

    @property
    def verdict(self) -> str:
        if self.failed is not None:
            return "NOT MEASURED"
        return {True: "met", False: "not met", None: ""}[self.met]

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
            "server_cpu_seconds_per_million_rows": self.server,
            "peak_mb": self.peak,
            "spread": None if self.spread is None else round(self.spread, 3),
            "failed": self.failed,
        }

    def cells(self) -> tuple[str, ...]:
        """Its line of the table, from ``ours`` on; see ``COLUMNS``."""
        return (
            self.ours,
            self.beside,
            self.failed or self.its,
            _number(self.ratio),
            self.target,
            _number(self.cpu),
            _number(self.server),
            _number(self.peak, 1),
            "" if self.spread is None else f"{self.spread * 100:.0f} %",
        )


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
        if not self._missing(leg, what, its, least):
            self._compare(leg, what, ours, its, ours.rate / its.rate, least)

    def times(
        self, leg: str, what: str, ours: Contest, its: Contest, least: float | None = None
    ) -> None:
        """Seconds for the same work; above 1 ours took less."""
        if not self._missing(leg, what, its, least):
            ratio = its.seconds / ours.seconds
            self._compare(leg, what, ours, its, ratio, least, times=True)

    def _missing(self, leg: str, what: str, its: Contest, least: float | None) -> bool:
        if its.failed is not None:
            self.findings.append(Finding(leg, what, "", its.name, least=least, failed=its.failed))
        return its.failed is not None

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
        many = ours.rows >= FEW
        server = ours.server_per_million
        self.findings.append(
            Finding(
                leg,
                what,
                figure(ours),
                its.name,
                figure(its),
                ratio=ratio,
                least=least,
                cpu=round(ours.cpu_per_million, 2) if many else None,
                server=round(server, 2) if many and server is not None else None,
                peak=None if ours.peak_mb is None else round(ours.peak_mb, 1),
                spread=max(ours.spread, its.spread),
            )
        )

    def limit(self, leg: str, what: str, figure: float, unit: str, most: float) -> None:
        """A figure that must stay below a limit of its own."""
        self.findings.append(Finding(leg, what, f"{figure:.2f} {unit}", figure=figure, most=most))

    def alone(self, leg: str, what: str, ours: Contest) -> None:
        """Rows a second that have nobody to be compared with."""
        many = ours.rows >= FEW
        server = ours.server_per_million
        self.findings.append(
            Finding(
                leg,
                what,
                _rate(ours),
                cpu=round(ours.cpu_per_million, 2) if many else None,
                server=round(server, 2) if many and server is not None else None,
                peak=None if ours.peak_mb is None else round(ours.peak_mb, 1),
                spread=ours.spread,
            )
        )

    def note(self, leg: str, what: str, ours: str, beside: str = "", its: str = "") -> None:
        """A figure that has no target."""
        self.findings.append(Finding(leg, what, ours, beside, its))

    def reasons(self) -> list[str]:
        """Of every target that is not met and every peer that was not measured."""
        return [
            f"{f.leg}, {f.what}, beside {f.beside or 'its limit'}: {f.verdict}. "
            + (f.failed or WHY.get((f.leg, f.beside.partition(",")[0]), "No reason is known."))
            for f in self.findings
            if f.verdict in {"not met", "NOT MEASURED"}
        ]

    def table(self, caption: str) -> Table:
        """For the terminal."""
        table = Table(title="dsp_airflow beside the limit and others", caption=caption)
        for name in ("Leg", "What", *COLUMNS[:3]):
            table.add_column(name, overflow="fold")
        for name in COLUMNS[3:]:
            table.add_column(name, justify="right")
        table.add_column("", no_wrap=True)
        before = None
        for line in self.findings:
            if before not in (None, line.leg):
                table.add_section()
            colour = {"met": "green", "not met": "red", "NOT MEASURED": "bold red"}
            table.add_row(
                "" if line.leg == before else line.leg,
                line.what,
                *line.cells(),
                Text(line.verdict, style=colour.get(line.verdict, "")),
            )
            before = line.leg
        return table

    def markdown(self, caption: str) -> str:
        """For docs/performance.md."""
        head = ("Leg", "What", *COLUMNS, "Met")
        lines = [caption, "", _line(head), _line(["---"] * len(head))]
        lines += [_line((f.leg, f.what, *f.cells(), f.verdict)) for f in self.findings]
        return "\n".join([*lines, "", *(f"- {reason}" for reason in self.reasons())])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _rate(contest: Contest) -> str:
    if contest.rate >= 10_000:
        return f"{contest.rate / 1000:,.0f} k rows/s"
    return f"{contest.rate:,.0f} rows/s"


def _seconds(contest: Contest) -> str:
    return f"{contest.seconds:.2f} s"
