"""What the demonstration has shown: counted on both databases, not taken from the run's word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dsp_airflow.demo.documents import Buckets
from dsp_airflow.demo.flights import SOURCE_TABLE, TARGET_TABLE, Content
from dsp_airflow.demo.stage import Tables
from dsp_airflow.state.records import JobSummary, RunSummary

MAILS = 2
"""Of the approval, and of the end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The tables before and after the run, what the run says of itself, the mails it sent."""

    before: Tables
    after: Tables
    run: RunSummary
    mails: Sequence[EmailMessage]
    run_seconds: float

    @property
    def job(self) -> JobSummary:
        """The example's only job."""
        return self.run.jobs[0]


@dataclass(frozen=True, slots=True)
class Archive:
    """Rows in the source and in the bucket, before and after archiving, and after a restore."""

    before: int
    left: int
    stored: int
    again: int
    stored_still: int
    altered: int
    """Rows of the source that are not as they were loaded."""
    archived: JobSummary
    restored: JobSummary


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The flights that were copied to MariaDB, in the source and there, and what the run says."""

    source: Content
    there: Content
    job: JobSummary


def mariadb_problems(found: Elsewhere) -> list[str]:
    """Return what does not add up; nothing when all is well."""
    job, wrong = found.job, []
    if not found.source.rows:
        wrong.append("nothing was to be copied to MariaDB")
    if not found.source.rows == found.there.rows == job.rows_written == job.rows_checked:
        wrong.append(
            f"the source has {found.source.rows:,} rows for MariaDB and MariaDB holds "
            f"{found.there.rows:,}; the run reports {job.rows_written:,} written and "
            f"{job.rows_checked:,} checked"
        )
    elif found.source != found.there:
        wrong.append("some row in MariaDB is not the same (the sums of the rows' hashes differ)")
    return wrong


def show_mariadb(console: Console, found: Elsewhere) -> None:
    """Print the counts and what the run says."""
    same = "equal" if found.source == found.there else "NOT equal"
    table = Table(
        title="Rows, counted and hashed in PostgreSQL and in MariaDB",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("place")
    table.add_column("rows", justify="right")
    table.add_column("hashes")
    table.add_row(f"shop.{SOURCE_TABLE}, from October", f"{found.source.rows:,}", same)
    table.add_row(f"mariadb shop.{SOURCE_TABLE}", f"{found.there.rows:,}", same)
    console.print()
    console.print(table)


@dataclass(frozen=True, slots=True)
class Documents:
    """The flights and files of MongoDB, and what the run says of its two jobs."""

    source: Content
    there: Content
    before: Buckets
    after: Buckets
    flights: JobSummary
    files: JobSummary


def mongo_problems(found: Documents) -> list[str]:
    """Return what does not add up; nothing when all is well."""
    copied, moved, wrong = found.flights, found.files, []
    if not found.source.rows:
        wrong.append("nothing was to be copied to MongoDB")
    if not found.source.rows == found.there.rows == copied.rows_written == copied.rows_checked:
        wrong.append(
            f"the source has {found.source.rows:,} rows for MongoDB and MongoDB holds "
            f"{found.there.rows:,} documents; the run reports {copied.rows_written:,} written and "
            f"{copied.rows_checked:,} checked"
        )
    elif found.source != found.there:
        wrong.append("some document is not what its row is (the sums of the hashes differ)")
    if not found.before.shop:
        wrong.append("no file was to be moved")
    if found.after.shop or found.after.archive != found.before.shop:
        wrong.append(
            f"of {len(found.before.shop)} files {len(found.after.shop)} are left, and the archive "
            f"has {len(found.after.archive)}, or others"
        )
    if not len(found.before.shop) == moved.rows_written == moved.rows_purged:
        wrong.append(
            f"{len(found.before.shop)} files were to be moved; the run reports "
            f"{moved.rows_written:,} written and {moved.rows_purged:,} purged"
        )
    return wrong


def show_mongo(console: Console, found: Documents) -> None:
    """Print the counts and what the run says."""
    same = "equal" if found.source == found.there else "NOT equal"
    whole = "equal" if found.before.shop == found.after.archive else "NOT equal"
    table = Table(
        title="Rows and documents, and files of GridFS, counted and hashed",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("place")
    for name in ("before", "after"):
        table.add_column(name, justify="right")
    table.add_column("hashes")
    table.add_row(f"shop.{SOURCE_TABLE}, from Christmas", "", f"{found.source.rows:,}", same)
    table.add_row(f"mongodb shop.{SOURCE_TABLE}", "0", f"{found.there.rows:,}", same)
    before, after = found.before, found.after
    for place, was, now in (
        ("mongodb shop.departures", before.shop, after.shop),
        ("mongodb archive.departures", before.archive, after.archive),
    ):
        table.add_row(place, f"{len(was):,}", f"{len(now):,}", whole)
    console.print()
    console.print(table)


def archive_problems(archive: Archive) -> list[str]:
    """Return what does not add up; nothing when all is well."""
    gone, back = archive.before - archive.left, archive.again - archive.left
    archived, restored = archive.archived, archive.restored
    found = []
    if not gone:
        found.append("nothing was archived")
    if not gone == archive.stored == archived.rows_written == archived.rows_purged:
        found.append(
            f"the source lost {gone:,} rows, the files hold {archive.stored:,}, the run reports "
            f"{archived.rows_written:,} archived and {archived.rows_purged:,} purged"
        )
    if not back:
        found.append("nothing was restored")
    if not back == restored.rows_written == restored.rows_checked:
        found.append(
            f"the source got {back:,} rows back, the run reports {restored.rows_written:,} "
            f"restored and {restored.rows_checked:,} checked"
        )
    if archive.stored_still != archive.stored:
        found.append(f"the files hold {archive.stored_still:,} rows after the restore")
    if archive.altered:
        found.append(f"{archive.altered:,} rows of the source are not as they were loaded")
    return found


def show_archive(console: Console, archive: Archive) -> None:
    """Print the counts and what the runs say."""
    title = "Rows, counted in PostgreSQL and in the Parquet files"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("place")
    for name in ("before", "archived", "batch restored"):
        table.add_column(name, justify="right")
    for name, *counts in (
        (f"shop.{SOURCE_TABLE}", archive.before, archive.left, archive.again),
        ("s3://archive/flights", 0, archive.stored, archive.stored_still),
    ):
        table.add_row(name, *(f"{count:,}" for count in counts))
    console.print()
    console.print(table)


def problems(outcome: Outcome) -> list[str]:
    """Return what does not add up, in words; nothing when all is well."""
    before, after, job = outcome.before, outcome.after, outcome.job
    moved = after.target.rows - before.target.rows
    gone = before.source.rows - after.source.rows
    found = []
    if before.both.rows != after.both.rows:
        found.append(
            f"rows: {before.both.rows:,} before, but {after.source.rows:,} in the source and "
            f"{after.target.rows:,} in the target make {after.both.rows:,}"
        )
    elif before.both != after.both:
        found.append("some row is not the same as before (the sums of the rows' hashes differ)")
    if moved == 0:
        found.append("nothing was moved")
    if job.rows_written != moved:
        found.append(f"the run reports {job.rows_written:,} rows written, the target got {moved:,}")
    if job.rows_purged != gone:
        found.append(f"the run reports {job.rows_purged:,} rows purged, the source lost {gone:,}")
    if job.rows_purged + job.rows_kept != job.rows_total:
        found.append(
            f"{job.rows_purged:,} rows purged and {job.rows_kept:,} kept are not the "
            f"{job.rows_total:,} of the job"
        )
    if job.rows_different:
        found.append(f"the check found {job.rows_different:,} rows that differ")
    if not job.rows_checked:
        found.append("the check compared no row")
    if outcome.run.state != "succeeded":
        found.append(f"run {outcome.run.run} is {outcome.run.state}: {outcome.run.error or '-'}")
    if len(outcome.mails) != MAILS:
        found.append(
            f"{len(outcome.mails)} mails arrived instead of {MAILS}: of the approval and of the end"
        )
    return found


def show(console: Console, outcome: Outcome) -> None:
    """Print the tables, the run and the mails."""
    console.print()
    console.print(_tables(outcome))
    console.print()
    console.print(_facts(outcome))
    for mail in outcome.mails:
        console.print()
        console.print(_mail(mail))


def _tables(outcome: Outcome) -> Table:
    table = Table(title="Rows, counted in PostgreSQL", title_justify="left", title_style="bold")
    table.add_column("table")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right")
    before, after = outcome.before, outcome.after
    for name, was, now in (
        (f"shop.{SOURCE_TABLE}", before.source.rows, after.source.rows),
        (f"warehouse.{TARGET_TABLE}", before.target.rows, after.target.rows),
        ("both", before.both.rows, after.both.rows),
    ):
        if name == "both":
            table.add_section()
        table.add_row(name, f"{was:,}", f"{now:,}", f"{now - was:+,}")
    return table


def _facts(outcome: Outcome) -> Table:
    job = outcome.job
    verdict = "no difference" if not job.rows_different else f"{job.rows_different:,} differ"
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    facts.add_row("run", f"{outcome.run.run}, {outcome.run.state}")
    facts.add_row("copied", f"{job.rows_written:,} rows in {job.batches} batches")
    facts.add_row(
        "checked",
        f"all counts, and the content of {job.rows_checked:,} rows: {verdict}",
    )
    facts.add_row(
        "purged",
        f"{job.rows_purged:,} rows, each proved in the target first; {job.rows_kept:,} kept",
    )
    facts.add_row("time", f"{outcome.run_seconds:.0f} s")
    return facts


def _mail(mail: EmailMessage) -> Panel:
    part = mail.get_body(("plain", "html"))
    body = part.get_content() if part else ""
    text = Text(f"To: {mail['To']}\nSubject: {mail['Subject']}\n\n{body.strip()}", overflow="fold")
    return Panel(text, title="A mail that arrived", title_align="left", expand=False)
