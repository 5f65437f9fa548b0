"""Every way in which a run ends, by every strategy, in a real Airflow: who gets which mail.

Airflow keeps its metadata in PostgreSQL here: on SQLite its scheduler may write over a run that
was marked as failed by hand.
"""

from __future__ import annotations

import contextlib
import socket
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import psutil
import pytest

from dsp_airflow.demo.rest import AirflowApi
from dsp_airflow.demo.standalone import AirflowStandalone
from dsp_airflow.state.database import open_state, upgrade
from dsp_airflow.state.outbox import MailStatus, Outbox
from dsp_airflow.state.runs import Runs
from tests.e2e.conftest import REPOSITORY
from tests.servers import Database, PostgresServer, SmtpSink, free_port, fresh_database

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CAUSES = ("retries", "step_timeout", "run_timeout", "killed", "by_hand", "success")
STRATEGIES = ("never", "failure", "success", "always")
RUN = "first"
RUN_SECONDS = 400.0
MAIL_SECONDS = 120.0
QUIET_SECONDS = 15.0
"""Longer than a late callback waits for the next reading of its file."""

TASK = """\
    name: {name}
    display_name: {title}
    retries: {retries}
    retry_delay: 1s
    notify: {{when: {when}, to: [{name}@example.com]}}
    jobs:
      - name: orders
        type: warm
        source: {{connection: {source}, table: public.orders}}
        target: {{connection: warehouse, table: public.{name}}}
        batch_size: 100
        check: {check}
    """

# The clocks of these tasks are shorter than a task file can say.
LOADER = """\
from datetime import timedelta
from pathlib import Path

from dsp_airflow.dag_factory import dags_in

TASKS = dags_in(Path(__file__).parent / "tasks")
for name, dag in TASKS.items():
    if name.startswith("run_timeout"):
        dag.dagrun_timeout = timedelta(seconds=15)
    if name.startswith("step_timeout"):
        step = "orders.copy" if name.endswith("always") else "estimate"
        dag.get_task(step).execution_timeout = timedelta(seconds=20)
globals().update({f"dag {name}": dag for name, dag in TASKS.items()})
"""

# The first batch goes in, the second one waits.
SLOW = """
CREATE FUNCTION wait_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT count(*) FROM {name}) >= 100 THEN PERFORM pg_sleep(900); END IF;
    RETURN NULL;
END $$
"""


@dataclass
class World:
    """Airflow, its surroundings, and what the runs got stuck on."""

    airflow: AirflowStandalone
    api: AirflowApi
    target: Database
    state: Database
    state_server: PostgresServer
    runs: Runs
    outbox: Outbox
    smtp: SmtpSink
    dead_ends: dict[str, int]
    ends: dict[str, str] = field(default_factory=dict)

    def stuck(self, name: str) -> psutil.Process | None:
        """The process of the task that hangs, once it does."""
        if name.endswith("always"):
            query = (
                "SELECT client_port FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event = 'PgSleep' AND query LIKE %s"
            )
            found = self.target.rows(query, f"%{name}%")
            ports = {port for (port,) in found}
            return _process(lambda c: c.laddr.port in ports)
        port = self.dead_ends[name]
        return _process(lambda c: bool(c.raddr) and c.raddr.port == port)

    def mails_to(self, name: str) -> list[EmailMessage]:
        return [m for m in self.smtp.mails() if m["X-RcptTo"] == f"{name}@example.com"]

    def rows(self, name: str) -> list[MailStatus]:
        """The outbox's mails to the task's reader."""
        return [m for m in self.outbox.recent(1000) if m.recipients == (f"{name}@example.com",)]

    def wait(self, what: str, seconds: float, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
            time.sleep(0.5)


def _process(fits: Callable[..., bool]) -> psutil.Process | None:
    for connection in psutil.net_connections("tcp"):
        if connection.pid and connection.status == psutil.CONN_ESTABLISHED and fits(connection):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(connection.pid)
                if "postgres" not in process.name():
                    return process
    return None


@pytest.fixture(scope="module")
def world(pg18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("mails")
    names = [f"{cause}_{when}" for cause in CAUSES for when in STRATEGIES]
    with ExitStack() as stack:
        source, target, state, metadata = (
            stack.enter_context(fresh_database(pg18)) for _ in range(4)
        )
        source.execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, total numeric(12, 2))",
            "INSERT INTO orders SELECT n, n / 7.0 FROM generate_series(1, 300) AS n",
        )
        upgrade(state.uri)
        connections = {"shop": source.uri, "warehouse": target.uri}
        connections["nowhere"] = f"postgresql://a:b@127.0.0.1:{free_port()}/nowhere"
        dead_ends = {}
        for name in names:
            if name.startswith(("retries", "success")):
                continue
            if name.endswith("always"):
                _slow(target, name)
            else:
                # It takes connections and never says a word.
                dead_end = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                dead_ends[name] = dead_end.getsockname()[1]
                connections[name] = (
                    f"postgresql://a:b@127.0.0.1:{dead_ends[name]}/x?connect_timeout=900"
                )
        smtp = stack.enter_context(SmtpSink())
        airflow = AirflowStandalone(
            home,
            dags=_dags_folder(home / "dags", names),
            plugins=REPOSITORY / "plugins",
            state_url=state.uri,
            metadata_url=metadata.uri,
            connections={**connections, "smtp_default": smtp.airflow_uri},
            settings={
                # Those that hang need no processor.
                "AIRFLOW__CORE__PARALLELISM": "12",
                "AIRFLOW__DSP__ENFORCE_APPROVAL": "False",
                "AIRFLOW__DSP__ENFORCE_GRANTS": "False",
            },
        )
        stack.enter_context(airflow)
        api = airflow.wait_until_ready()
        stack.callback(api.close)
        database = stack.enter_context(open_state(state.uri))
        made = World(
            airflow,
            api,
            target,
            state,
            pg18,
            Runs(database),
            Outbox(database),
            smtp,
            dead_ends,
        )
        _run_all(made, names)
        yield made


def _slow(target: Database, name: str) -> None:
    target.execute(
        f"CREATE TABLE {name} (id bigint PRIMARY KEY, total numeric(12, 2))",
        SLOW.format(name=name),
        f"CREATE TRIGGER wait BEFORE INSERT ON {name} EXECUTE FUNCTION wait_{name}()",
    )


def _dags_folder(folder: Path, names: list[str]) -> Path:
    (folder / "tasks").mkdir(parents=True)
    (folder / "loader.py").write_text(LOADER)
    for name in names:
        cause, when = name.rsplit("_", 1)
        source = "shop"
        if cause == "retries":
            source = "nowhere"
        elif cause != "success" and when != "always":
            source = name
        text = TASK.format(
            name=name,
            title=f"Orders 订单 {name}",
            when=when,
            source=source,
            retries=int(cause == "retries"),
            check="{percent: 100}" if name == "success_always" else "none",
        )
        (folder / "tasks" / f"{name}.yaml").write_text(textwrap.dedent(text))
    ghost = TASK.format(
        name="ghost", title="Ghost", when="always", source="shop", retries=0, check="none"
    )
    (folder / "tasks" / "ghost.yaml").write_text(
        textwrap.dedent(ghost).replace("public.orders", "public.ghosts")
    )
    return folder


def _run_all(world: World, names: list[str]) -> None:
    """All at once; those that hang are ended as their cause says."""
    for name in names:
        world.api.wait_for_dag(name, 120)
        world.api.unpause(name)
        world.api.trigger(name, RUN)
    to_end = {name for name in names if name.startswith(("killed", "by_hand"))}
    left = set(names)
    deadline = time.monotonic() + RUN_SECONDS
    while left:
        assert time.monotonic() < deadline, f"still at work: {sorted(left)}"
        states = world.api.run_states(RUN)
        for name in sorted(to_end):
            assert states[name] not in {"failed", "success"}, f"{name} ended by itself"
            process = world.stuck(name)
            if process is None:
                continue
            to_end.discard(name)
            if name.startswith("killed"):
                process.kill()
            else:
                world.api.mark(name, RUN, "failed")
        for name in sorted(left - to_end):
            if states[name] in {"failed", "success"}:
                world.ends[name] = states[name]
                left.discard(name)
        time.sleep(0.5)


def _expected(cause: str, when: str) -> int:
    event = "success" if cause == "success" else "failure"
    return int(when in {event, "always"})


def test_each_end_is_told_once_to_those_who_want_to_hear_of_it(world: World) -> None:
    names = {f"{cause}_{when}": (cause, when) for cause in CAUSES for when in STRATEGIES}
    assert world.ends == {
        name: "success" if cause == "success" else "failed" for name, (cause, _) in names.items()
    }
    expected = {name: 1 for name, (cause, when) in names.items() if _expected(cause, when)}

    def arrived() -> dict[str, int]:
        return dict(Counter(m["X-RcptTo"].split("@")[0] for m in world.smtp.mails()))

    world.wait("the mails", MAIL_SECONDS, lambda: expected.keys() <= arrived().keys())
    time.sleep(QUIET_SECONDS)
    assert arrived() == expected
    assert {name: [(r.state, r.attempts) for r in world.rows(name)] for name in expected} == {
        name: [("sent", 1)] for name in expected
    }


@pytest.mark.parametrize(
    ("name", "subject", "said"),
    [
        (
            "retries_failure",
            "[dsp] FAILED: Orders 订单 retries_failure",
            ["cannot connect", "Nothing was deleted", "No job was planned yet"],
        ),
        (
            "step_timeout_always",
            "[dsp] FAILED: Orders 订单 step_timeout_always",
            ["AirflowTaskTimeout", "execution_timeout", "stopped while copying, at batch 2 of 3"],
        ),
        (
            "run_timeout_always",
            "[dsp] FAILED (timed out): Orders 订单 run_timeout_always",
            ["took longer than its timeout", "raise timeout in the task file"],
        ),
        (
            "killed_always",
            "[dsp] FAILED: Orders 订单 killed_always",
            ["its process was killed or lost", "at batch 2 of 3", "last: batch 1, copied"],
        ),
        (
            "by_hand_always",
            "[dsp] FAILED (marked by hand): Orders 订单 by_hand_always",
            ["Somebody marked the run as failed in Airflow", "Ask who marked it, and why"],
        ),
        (
            "success_always",
            "[dsp] OK: Orders 订单 success_always",
            ["300 rows copied, 300 compared and equal. Nothing was deleted from the source."],
        ),
    ],
)
def test_a_mail_says_what_happened(world: World, name: str, subject: str, said: list[str]) -> None:
    world.wait(f"the mail of {name}", MAIL_SECONDS, lambda: bool(world.mails_to(name)))
    (mail,) = world.mails_to(name)
    assert mail["Subject"] == subject
    text = mail.get_content().replace("\r\n", "\n")
    print(f"{mail['Subject']}\n\n{text}")  # noqa: T201 - to be read by whoever runs it with -s
    flat = " ".join(text.split())
    for words in said:
        assert words in flat, text
    assert f"{world.airflow.url}/dags/{name}/runs/{RUN}\n" in text
    if name != "success_always":
        assert "A retry is safe at any time" in flat


def test_the_ends_are_recorded(world: World) -> None:
    def state(name: str) -> str | None:
        run = world.runs.find(f"{name}/{RUN}")
        return run.state if run else None

    world.wait("by hand", 60, lambda: state("by_hand_never") == "failed")
    # Where the processes were killed or stopped, nothing else could have recorded it.
    for name in world.ends:
        wanted = {"succeeded" if name.startswith("success") else "failed"}
        if "timeout" in name:
            # On a busy machine the time may be over before the run is begun.
            wanted.add("")
        assert (state(name) or "") in wanted, name


def test_mails_wait_until_the_smtp_server_is_back(world: World) -> None:
    world.smtp.clear()
    world.smtp.pause()
    try:
        assert _fail(world, "down") == "failed"
        world.wait(
            "a try in vain",
            MAIL_SECONDS,
            lambda: any(row.state == "new" and row.error for row in world.rows("ghost")),
        )
    finally:
        world.smtp.resume()
    world.wait("the mail", MAIL_SECONDS, lambda: bool(world.mails_to("ghost")))
    time.sleep(QUIET_SECONDS)
    (mail,) = world.mails_to("ghost")
    assert "ghosts" in mail.get_content()
    assert [row.state for row in world.rows("ghost")] == ["sent"]


def test_mails_go_out_while_the_state_database_is_down(world: World) -> None:
    world.smtp.clear()
    with _down(world.state_server, world.state.name):
        assert _fail(world, "blind") == "failed"
        world.wait("the mail", MAIL_SECONDS, lambda: bool(world.mails_to("ghost")))
        # Only a listener hears of this end.
        world.api.mark("success_failure", RUN, "failed")
        world.wait("the mail", MAIL_SECONDS, lambda: bool(world.mails_to("success_failure")))
        time.sleep(QUIET_SECONDS)
    for name in ("ghost", "success_failure"):
        (mail,) = world.mails_to(name)
        said = " ".join(mail.get_content().split())
        assert "The state database could not be used, so there are no counts" in said


def _fail(world: World, run: str) -> str:
    world.api.wait_for_dag("ghost", 120)
    world.api.unpause("ghost")
    world.api.trigger("ghost", run)
    return world.api.wait_for_run("ghost", run, RUN_SECONDS)


@contextlib.contextmanager
def _down(server: PostgresServer, database: str) -> Iterator[None]:
    """Nobody gets in, and who was in is out."""
    with server.connect() as connection:
        connection.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false'.encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
        )
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true'.encode())
