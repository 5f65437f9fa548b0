"""The commands: their names, arguments and help. What they do is in the module of each."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dsp_airflow.cli import approval_app, grant_app, mark_app, rollback_app
from dsp_airflow.cli.audit_app import audit
from dsp_airflow.cli.pools_app import pools
from dsp_airflow.cli.task_commands import tasks


@dataclass
class Options:
    """What stands before the command."""

    debug: bool = False


options = Options()

app = typer.Typer(
    name="dsp",
    help="Copy, prove and purge database tables from YAML task files.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
database = typer.Typer(
    help="Look after the state database.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(database, name="db")
archives = typer.Typer(
    help="Look into the archives of S3 jobs: list, show, verify, query.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(archives, name="archive")
app.add_typer(tasks, name="task")
app.add_typer(pools, name="pools")
app.add_typer(audit, name="audit")
approval_app.register(app)
grant_app.register(app)
mark_app.register(app)
rollback_app.register(app)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A task file (YAML).")]
JobName = Annotated[str | None, typer.Option("--job", metavar="NAME", help="Only this job.")]
RunId = Annotated[
    str | None, typer.Option("--run", metavar="RUN", help="A run's id; default: the latest.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def _percent(value: float | None) -> float | None:
    if value is not None and not 0 < value <= 100:
        raise typer.BadParameter("must be above 0, up to 100")
    return value


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"dsp {version('dsp-airflow')}")
        raise typer.Exit


@app.callback()
def _global(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    options.debug = debug


@app.command()
def lint(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Task files or folders.")],
    as_json: Json = False,
) -> None:
    """Check task files and show every problem at once; connects nowhere."""
    # What it loads lives until its end; looking through that again and again would take a sixth
    # of its time.
    gc.disable()
    from dsp_airflow.cli import lint as command

    command.lint(paths, as_json=as_json)


@app.command()
def plan(
    file: File,
    job: JobName = None,
    infer: Annotated[
        bool,
        typer.Option(
            "--infer", help="Propose columns for jobs that read documents, from a sample of them."
        ),
    ] = False,
    whole: Annotated[
        bool, typer.Option("--all", help="With --infer: look at every document, not at 1,000.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show all that a run would do: columns, types, losses, batches, warnings; changes nothing."""
    if infer:
        from dsp_airflow.cli import infer as proposing

        proposing.infer(file, job=job, whole=whole, as_json=as_json)
        return
    from dsp_airflow.cli import plan as command

    command.plan(file, job=job, as_json=as_json)


@app.command()
def run(
    file: File,
    job: JobName = None,
    new: Annotated[
        bool, typer.Option("--new", help="Begin a new run, even if the last one is unfinished.")
    ] = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")] = False,
) -> None:
    """Run a task: copy, check, and purge where the file says so; resumes an unfinished run."""
    from dsp_airflow.cli import run as command

    command.run(file, job=job, new=new, as_json=as_json, quiet=quiet)


@app.command()
def check(
    file: File,
    job: JobName = None,
    run_id: RunId = None,
    percent: Annotated[
        float | None,
        typer.Option(
            "--percent",
            metavar="PERCENT",
            callback=_percent,
            help="Share of the batches to compare, above 0 to 100; default: what the file says.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare once more what a run copied; exits with 3 when rows differ."""
    from dsp_airflow.cli import check as command

    command.check(file, job=job, run_id=run_id, percent=percent, as_json=as_json)


@app.command()
def purge(
    file: File,
    batches: Annotated[
        str, typer.Option("--batches", metavar="LIST", help="1-5, 3, 1,4-6 or all.")
    ],
    job: JobName = None,
    run_id: RunId = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete batches from the source by hand; only rows proved in the target are deleted."""
    from dsp_airflow.cli import purge as command

    command.purge(file, batches=batches, job=job, run_id=run_id, yes=yes, as_json=as_json)


@app.command()
def restore(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Task file of the archived job.")
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="The archived run: its id, or latest."),
    ] = None,
    job: JobName = None,
    batches: Annotated[
        str, typer.Option("--batches", metavar="LIST", help="1-5, 3, 1,4-6 or all.")
    ] = "all",
    where: Annotated[
        str | None,
        typer.Option("--where", metavar="SQL", help="Only rows that match this condition."),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option("--to", metavar="TABLE", help="Default: the table they came from."),
    ] = None,
    connection: Annotated[
        str | None,
        typer.Option(
            "--connection", metavar="NAME", help="Database to write to; default: the job's source."
        ),
    ] = None,
    on_conflict: Annotated[
        str,
        typer.Option(
            "--on-conflict",
            metavar="error|ignore|update",
            help="What to do where the table holds a row of the same key.",
        ),
    ] = "error",
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=32, help="Batches restored at once.")
    ] = 1,
    children: Annotated[
        bool, typer.Option("--children", help="And the rows of the jobs that belong to it.")
    ] = False,
    manifest: Annotated[
        str | None,
        typer.Option(
            "--manifest", metavar="ADDRESS", help="s3://bucket/.../_manifest.json instead of FILE."
        ),
    ] = None,
    storage: Annotated[
        str,
        typer.Option("--storage", metavar="NAME", help="Connection to the manifest's bucket."),
    ] = "aws_default",
    new: Annotated[
        bool, typer.Option("--new", help="Begin anew, even if the last restore is unfinished.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Restore archived rows to a table and check them there; resumes an unfinished restore."""
    from dsp_airflow.cli import restore as command
    from dsp_airflow.restoring import Wish

    wish = Wish(batches, where, connection, table, on_conflict, workers, children)
    command.restore(
        file,
        wish,
        run_id=run_id,
        job=job,
        manifest=manifest,
        storage=storage,
        new=new,
        as_json=as_json,
    )


@app.command()
def status(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="NAME", help="Only runs of this task.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many runs to list.")] = 20,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify the receipts; exits with 3 when one is wrong.")
    ] = False,
    differences: Annotated[
        bool, typer.Option("--differences", help="Show the rows that differ or were kept.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List runs, or show one with its jobs and batches."""
    from dsp_airflow.cli import status as command

    command.status(
        run, task=task, limit=limit, verify=verify, differences=differences, as_json=as_json
    )


@app.command()
def terminate(
    run: Annotated[
        str, typer.Argument(metavar="RUN|TASK", help="A run's id, or a task: its unfinished run.")
    ],
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why, for who looks later.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Stop a run at the edge of its batches, wherever it works; run it again to go on."""
    from dsp_airflow.cli import terminate as command

    command.terminate(run, reason=reason, as_json=as_json)


@app.command()
def mails(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many mails to list.")] = 20,
    send: Annotated[
        bool, typer.Option("--send", help="First send now what waits for its next try.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the mails about ends of runs: sent, waiting, given up."""
    from dsp_airflow.cli import mails as command

    command.mails(limit=limit, send=send, as_json=as_json)


@app.command()
def cursor(
    file: File,
    job: JobName = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget it: the next run begins at the beginning.")
    ] = False,
    value: Annotated[
        str | None,
        typer.Option(
            "--set",
            metavar="VALUE",
            help="Where the next run begins, as SQL text; of steps as plan shows it.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show, set or reset how far incremental jobs, and those that go by steps, have come."""
    from dsp_airflow.cli import cursor as command

    command.cursor(file, job=job, reset=reset, value=value, as_json=as_json)


@app.command()
def drift(
    file: File,
    job: JobName = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take the tables as they are from now on.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how source tables differ from what the last run found, or accept that."""
    from dsp_airflow.cli import drift as command

    command.drift(file, job=job, accept=accept, as_json=as_json)


@app.command()
def limits(
    run: Annotated[
        str, typer.Argument(metavar="RUN|TASK", help="A run's id, or a task: its unfinished run.")
    ],
    job: JobName = None,
    rows_per_second: Annotated[
        str | None,
        typer.Option("--rows-per-second", metavar="N", help="Rows in a second; none: no limit."),
    ] = None,
    bytes_per_second: Annotated[
        str | None,
        typer.Option(
            "--bytes-per-second", metavar="SIZE", help="Such as 50MiB in a second; none: no limit."
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            "--window",
            metavar="HOURS",
            help="Such as '22:00-06:00 Europe/Vienna'; none: at any time.",
        ),
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="The task file's limits hold again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show or change the limits of a run; its jobs follow within seconds, while they work."""
    from dsp_airflow.cli import limits as command

    given = {
        "rows_per_second": rows_per_second,
        "bytes_per_second": bytes_per_second,
        "window": window,
    }
    command.limits(run, given, job=job, clear=clear, as_json=as_json)


@app.command("check-connection")
def check_connection(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Id of an Airflow connection.")],
    as_json: Json = False,
) -> None:
    """Test a connection: reachable, login, privileges, version, clock."""
    from dsp_airflow.cli import connection as command

    command.check_connection(name, as_json=as_json)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running.")] = False,
) -> None:
    """Show the product at work: real data, through Airflow, on servers of its own."""
    # By name only: the demonstration stands above this package and calls it.
    from importlib import import_module

    raise typer.Exit(import_module("dsp_airflow.demo.main").run(keep=keep))


@database.command()
def upgrade() -> None:
    """Create the tables, or bring them up to date."""
    from dsp_airflow.cli import db

    db.upgrade()


@database.command()
def version() -> None:
    """Show the schema's version, and the one this package needs."""
    from dsp_airflow.cli import db

    db.version()


NewFile = Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")]


@database.command()
def backup(file: NewFile) -> None:
    """Write all tables to a file that is whole or absent."""
    from dsp_airflow.cli import db

    db.backup(file)


@database.command("restore")
def restore_database(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that backup wrote.")],
) -> None:
    """Fill an empty state database from a backup."""
    from dsp_airflow.cli import db

    db.restore(file)


@database.command()
def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Such as 90d; units s, m, h, d, w.")
    ],
) -> None:
    """Remove ended runs of that age; what was purged keeps its receipts and its run."""
    from dsp_airflow.cli import db

    db.prune(older_than)


TaskFile = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="A task file, whose S3 jobs say where to look."),
]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="URL", help="In place of a file: s3://bucket/prefix."),
]
Connection = Annotated[
    str | None,
    typer.Option("--connection", metavar="NAME", help="With --at: the Airflow connection."),
]


@archives.command("list")
def archive_list(
    file: TaskFile = None,
    job: JobName = None,
    at: At = None,
    connection: Connection = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="How many runs to list of each job.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """List the archived runs: rows, bytes, when, and whether manifest and receipts are there."""
    from dsp_airflow.cli import archive
    from dsp_airflow.cli.archive_places import Where

    archive.list_runs(Where(file, at, connection, job), limit=limit, as_json=as_json)


@archives.command("show")
def archive_show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or latest.")],
    file: TaskFile = None,
    job: JobName = None,
    at: At = None,
    connection: Connection = None,
    as_json: Json = False,
) -> None:
    """Show a run's manifest: source, columns, key, filter, batches, objects, receipts."""
    from dsp_airflow.cli import archive
    from dsp_airflow.cli.archive_places import Where

    archive.show(run, Where(file, at, connection, job), as_json=as_json)


@archives.command("verify")
def archive_verify(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run's id, or latest; default: every run."),
    ] = None,
    file: TaskFile = None,
    job: JobName = None,
    at: At = None,
    connection: Connection = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Look at sizes, versions and ETags; read nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare every object with what was written; exits with 3 when something is wrong."""
    from dsp_airflow.cli import archive_verify as command
    from dsp_airflow.cli.archive_places import Where

    if run is not None and file is None and at is None:
        # Something has to say where: a single argument is the file.
        file, run = Path(run), None
    command.verify(run, Where(file, at, connection, job), quick=quick, as_json=as_json)


@archives.command("query")
def archive_query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="SELECT ... FROM archive")],
    file: TaskFile = None,
    job: JobName = None,
    at: At = None,
    connection: Connection = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--run", metavar="RUN", help="A run's id, or all; repeatable. Default: the latest."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="At most so many rows; default: 100 in a table."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Ask the archived rows with SQL (DuckDB), which reads and changes nothing."""
    from dsp_airflow.cli import archive_query as command
    from dsp_airflow.cli.archive_places import Where

    command.query(
        sql,
        Where(file, at, connection, job),
        runs=runs or (),
        limit=limit,
        as_csv=as_csv,
        as_json=as_json,
    )
