"""`dsp demo`: the example tasks through a real Airflow, on real data, with all that they need.

PostgreSQL, MariaDB and MongoDB where they can be had, S3, a mail server and Airflow are started on
free ports of this machine, in folders that are removed at the end, and nothing is asked.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from types import FrameType

import httpx
import psycopg
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.markup import escape

from dsp_airflow.config.names import RESTORE_SUFFIX
from dsp_airflow.demo import approvals, progress, stage, summary
from dsp_airflow.demo.documents import Buckets
from dsp_airflow.demo.errors import DemoError
from dsp_airflow.demo.process import ServerError
from dsp_airflow.demo.rest import AirflowApi
from dsp_airflow.demo.screen import Screen
from dsp_airflow.demo.stage import Stage
from dsp_airflow.demo.standalone import USER
from dsp_airflow.engine.errors import DspError
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import RunSummary
from dsp_airflow.state.runs import Runs

TASK = "flights_archive"
ARCHIVE = "flights_to_s3"
RESTORE = f"{ARCHIVE}{RESTORE_SUFFIX}"
MARIADB = "flights_to_mariadb"
MONGO = "flights_to_mongo"
BATCH = "1"
"""What is restored."""
RUN = "demo"
DAG_SECONDS = 180.0
RUN_SECONDS = 600.0
MAIL_SECONDS = 120.0
INTERRUPTED = 130

_FORESEEN = (
    *(DemoError, ServerError, DspError),
    *(psycopg.Error, PyMongoError, httpx.HTTPError, OSError),
)


def run(keep: bool = False) -> int:
    """Run the demonstration; return 0 when every row is accounted for, else 1.

    `keep` leaves everything running until Ctrl-C. Whatever happens, no process and no folder
    is left behind in the end.
    """
    screen = Screen(Console())
    stack = ExitStack()
    code = 1
    with _signals_as_ctrl_c():
        try:
            code = _demonstrate(screen, stack, keep=keep)
        except KeyboardInterrupt:
            screen.line("\nInterrupted.")
            code = INTERRUPTED
        except _FORESEEN as error:
            screen.failure(error)
        finally:
            _stop(screen, stack)
    return code


def _demonstrate(screen: Screen, stack: ExitStack, *, keep: bool) -> int:
    screen.line(
        "[bold]dsp demo[/]: old flights move from a shop's database to a warehouse and to S3"
    )
    with screen.step("Starting the databases, an S3 server and a mail server"):
        servers = stage.start(stack)
    if servers.mariadb is None:
        screen.line(
            f"  MariaDB is not installed, so {MARIADB} is left out; install the Debian package "
            "mariadb-server to see it"
        )
    if servers.mongo is None:
        screen.line(f"  MongoDB cannot be had, so {MONGO} is left out: {escape(servers.no_mongo)}")
    with screen.step("Loading the flights of 2013 into the source, while Airflow starts"):
        servers.load()
        before = servers.count()
        files = None if servers.mongo is None else servers.files()
    with screen.step("Starting Airflow") as tell:
        api = servers.airflow.wait_until_ready(tell)
    stack.callback(api.close)
    state = stack.enter_context(servers.open_state())
    approvals.appoint(state)
    began = _begin(screen, api, TASK)
    _approve(screen, state, TASK)
    _follow(screen, servers, api, state, TASK)
    seconds = time.monotonic() - began
    if servers.mariadb is not None:
        # It runs beside the others.
        _begin(screen, api, MARIADB)
    if servers.mongo is not None:
        _begin(screen, api, MONGO)
    mails = _mails(screen, servers)
    with screen.step("Counting source and target"):
        after = servers.count()
        found = _summary(state, TASK)
    outcome = summary.Outcome(before, after, found, mails, seconds)
    summary.show(screen.console, outcome)
    screen.line()
    archive = _archive(screen, servers, api, state, after.source.rows)
    summary.show_archive(screen.console, archive)
    wrong = summary.problems(outcome) + summary.archive_problems(archive)
    if servers.mariadb is not None:
        elsewhere = _mariadb(screen, servers, api, state)
        summary.show_mariadb(screen.console, elsewhere)
        wrong += summary.mariadb_problems(elsewhere)
    if files is not None:
        documents = _mongo(screen, servers, api, state, files)
        summary.show_mongo(screen.console, documents)
        wrong += summary.mongo_problems(documents)
    screen.line(f"\n{screen.seconds:.0f} s in all")
    _say_verdict(screen, wrong, outcome, archive)
    _say_where(screen, servers, found.run, keep=keep)
    if keep:
        _wait_for_ctrl_c(servers)
    return 1 if wrong else 0


def _archive(
    screen: Screen, servers: Stage, api: AirflowApi, state: StateDatabase, before: int
) -> summary.Archive:
    """Archive more of the flights to S3, and restore one batch of them."""
    _run_task(screen, servers, api, state, ARCHIVE)
    with screen.step("Counting the source and the Parquet files"):
        left, stored = servers.count().source.rows, servers.archived()
    _run_task(screen, servers, api, state, RESTORE, {"batches": BATCH})
    with screen.step("Counting the source, and comparing each row with what was loaded"):
        return summary.Archive(
            before=before,
            left=left,
            stored=stored,
            again=servers.count().source.rows,
            stored_still=servers.archived(),
            altered=servers.altered(),
            archived=_summary(state, ARCHIVE).jobs[0],
            restored=_summary(state, RESTORE).jobs[0],
        )


def _mariadb(
    screen: Screen, servers: Stage, api: AirflowApi, state: StateDatabase
) -> summary.Elsewhere:
    """What became of the flights that were copied to MariaDB meanwhile."""
    _follow(screen, servers, api, state, MARIADB)
    with screen.step("Counting and hashing in PostgreSQL and in MariaDB"):
        source, there = servers.autumn()
    return summary.Elsewhere(source, there, _summary(state, MARIADB).jobs[0])


def _mongo(
    screen: Screen, servers: Stage, api: AirflowApi, state: StateDatabase, before: Buckets
) -> summary.Documents:
    """What became of the flights and the files that went to MongoDB meanwhile."""
    _follow(screen, servers, api, state, MONGO)
    with screen.step("Counting and hashing in PostgreSQL and in MongoDB"):
        source, there = servers.christmas()
        after = servers.files()
    flights, files = _summary(state, MONGO).jobs
    return summary.Documents(source, there, before, after, flights, files)


def _run_task(
    screen: Screen,
    servers: Stage,
    api: AirflowApi,
    state: StateDatabase,
    dag: str,
    form: Mapping[str, str] | None = None,
) -> None:
    """Run a DAG through Airflow."""
    _begin(screen, api, dag, form)
    _follow(screen, servers, api, state, dag)


def _begin(
    screen: Screen, api: AirflowApi, dag: str, form: Mapping[str, str] | None = None
) -> float:
    """Trigger a DAG as soon as Airflow knows it; return the moment."""
    with screen.step(f"Waiting for Airflow to read the DAG {dag}"):
        api.wait_for_dag(dag, DAG_SECONDS)
    began = time.monotonic()
    api.unpause(dag)
    api.trigger(dag, RUN, form)
    return began


def _approve(screen: Screen, state: StateDatabase, dag: str) -> None:
    """Somebody looks at what a run is about to do, and agrees."""
    with screen.step(f"Looking at what {dag} is about to do, and approving it"):
        request = approvals.approve(state, dag, DAG_SECONDS)
    screen.line(f"  {escape(approvals.in_words(request))}")


def _follow(
    screen: Screen, servers: Stage, api: AirflowApi, state: StateDatabase, dag: str
) -> None:
    """Tell how a run gets on; `DemoError` unless it ends well."""
    airflow = servers.airflow
    with screen.step(f"Running {dag}") as tell:
        ended = progress.follow(
            api, Runs(state), dag, RUN, tell, airflow=airflow, seconds=RUN_SECONDS
        )
        if ended != "success":
            failed = [t.task for t in api.task_instances(dag, RUN) if t.state == "failed"]
            logs = [f"{task}:\n{airflow.task_log(dag, RUN, task)}" for task in failed]
            raise DemoError(
                f"the run of {dag} ended in state {ended}; failed: "
                f"{', '.join(failed) or 'no task'}",
                "\n".join(logs),
            )


def _mails(screen: Screen, servers: Stage) -> list[EmailMessage]:
    with screen.step("Waiting for the mails"):
        try:
            return servers.smtp.wait_for_mails(summary.MAILS, MAIL_SECONDS)
        except TimeoutError:
            return servers.smtp.mails()


def _summary(state: StateDatabase, task: str) -> RunSummary:
    runs = Runs(state)
    found = runs.latest(task)
    if found is None:
        raise DemoError(f"the state database knows no run of {task}")
    return runs.summary(found.id)


def _say_verdict(
    screen: Screen, wrong: list[str], outcome: summary.Outcome, archive: summary.Archive
) -> None:
    if not wrong:
        screen.line(
            f"\n[bold green]Every one of the {outcome.before.both.rows:,} rows is accounted for, "
            f"unchanged: {outcome.after.target.rows:,} in the warehouse, {archive.again:,} in the "
            f"shop ({archive.restored.rows_written:,} of them restored), the rest in S3.[/]"
        )
        return
    screen.line("\n[bold red]The numbers do not add up:[/]")
    for problem in wrong:
        screen.line(f"  - {escape(problem)}")


def _say_where(screen: Screen, servers: Stage, run_id: str, *, keep: bool) -> None:
    airflow = servers.airflow
    screen.line(f"\n[bold]Airflow[/]  {airflow.url}/dags/{TASK}/runs/{RUN}")
    screen.line(f"         user {USER}, password {escape(airflow.password)}")
    if not keep:
        screen.line(
            "\nIt stops now. [bold]make demo KEEP=1[/] leaves all of it running to look at."
        )
        return
    screen.line("\n[bold]To look further[/], in another terminal:")
    screen.line(f"  . {servers.home / stage.SETTINGS_FILE}")
    screen.line(f"  dsp status {run_id}")
    screen.line("  dsp requests  [dim]# who agreed to what; you are olga there[/]")
    screen.line(f"  psql {servers.uri('warehouse')}")
    if servers.mariadb is not None:
        place = servers.mariadb.folder
        screen.line(f"  mariadb --socket {place / 'socket'} --user root -p shop")
        screen.line(f"    [dim]# its password: {escape(servers.mariadb.password)}[/]")
    if servers.mongo is not None:
        screen.line(f"  # MongoDB: {escape(servers.mongo.uri('shop'))}")
    screen.line(f"  dsp archive list {stage.CHECKOUT / 'dags/tasks/flights_to_s3.yaml'}")
    screen.line(f"  ls {servers.smtp.folder}  [dim]# the mails[/]")
    screen.line(f"  less {airflow.log}")
    screen.line("\nAll of it keeps running. [bold]Ctrl-C[/] stops and removes it.")


def _wait_for_ctrl_c(servers: Stage) -> None:
    try:
        while True:
            servers.airflow.require_running()
            time.sleep(1)
    except KeyboardInterrupt:
        return


def _stop(screen: Screen, stack: ExitStack) -> None:
    """End everything; a second Ctrl-C meanwhile would leave processes behind, so it waits."""
    previous = signal.getsignal(signal.SIGINT)
    if _in_main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with screen.step("Stopping and removing everything"):
            stack.close()
    finally:
        # Where nothing can be printed any more, the step has not even begun.
        stack.close()
        if _in_main_thread():
            signal.signal(signal.SIGINT, previous)


@contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Treat `kill` and a closed terminal like Ctrl-C."""
    numbers = (signal.SIGTERM, signal.SIGHUP) if _in_main_thread() else ()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        # Once is enough: what ends the servers must not be interrupted.
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
