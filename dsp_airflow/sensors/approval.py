"""The gate between looking and doing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, cast

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

from dsp_airflow.approval import machine, settings
from dsp_airflow.approval.estimates import HEADER, Estimates
from dsp_airflow.approval.machine import State
from dsp_airflow.approval.records import Request
from dsp_airflow.approval.requests import Requests
from dsp_airflow.approval.subject import Subject, declared, furthest, of_estimates
from dsp_airflow.config.processes import LONGEST, MATCH
from dsp_airflow.engine.errors import ConfigError, DspError, Transient
from dsp_airflow.notify import relay
from dsp_airflow.notify.delivery import CONNECTION
from dsp_airflow.operators.base import NOBODY, dag_run_key
from dsp_airflow.operators.errors import translated
from dsp_airflow.operators.shared_state import require_shared_state
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.runs import Runs
from dsp_airflow.triggers.approval import ApprovalTrigger

LONGEST_WAIT = 2 * LONGEST
"""Approval and waiting for the start together."""
RETRIES = 3
"""At least: a scheduler that is behind may take a step that wakes up for one that was killed, and
fails it. No retry asks twice, and none makes a yes of a no: what people decided fails at once.
"""


class ApprovalSensor(BaseSensorOperator):
    """Waits until people agree to what the run is about to do; fails when they do not.

    It is never let through by time, by a process that is missing, or by an error. In the DAG of a
    task file it asks for what the estimate before it found. In any other DAG it asks for what its
    arguments declare, and for what an ``EstimateOperator`` before it found::

        CLEANUP = "DELETE FROM orders WHERE state = 'draft' AND created < now() - interval '1 year'"

        with DAG("clean_up_orders", schedule=None):
            ApprovalSensor(
                task_id="approval",
                asks_for="database_change",
                subtypes=["delete"],
                connections=["shop_pg"],
                definition=CLEANUP,
                statements=1,
            ) >> SQLExecuteQueryOperator(task_id="clean_up", conn_id="shop_pg", sql=CLEANUP)

    :param asks_for: type of the task, such as ``database_change``; without it the estimate says.
    :param subtypes: what is done to data, such as ``["insert", "delete"]``.
    :param connections: ids of the Airflow connections that are worked on.
    :param definition: what will be done, such as the SQL: the decision is bound to it.
    :param rows: how many rows are concerned, if that is known.
    :param bytes: how many bytes are concerned, if that is known.
    :param statements: how many statements will be executed.
    :param process: ``match`` (default), or an approval process by name.
    :param title: what approvers read; default: the DAG's name.
    :param retries: as of any task, but 3 at least: they ask nobody twice.
    """

    template_fields: Sequence[str] = ("definition", "rows", "bytes", "statements", "title")
    ui_color = "#fff3d6"

    def __init__(
        self,
        *,
        asks_for: str | None = None,
        subtypes: Sequence[str] = (),
        connections: Sequence[str] = (),
        definition: Any = None,
        rows: int | str | None = None,
        bytes: int | str | None = None,  # noqa: A002 - what it counts
        statements: int | str | None = None,
        process: str = MATCH,
        title: str = "",
        dsp_notify: str | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("soft_fail") or kwargs.get("never_fail"):
            raise ValueError(
                "an approval that fails must fail: soft_fail and never_fail are refused"
            )
        super().__init__(**kwargs)
        # Only now the defaults of the DAG are in.
        self.retries = max(self.retries or 0, RETRIES)
        self.asks_for = asks_for
        self.subtypes = subtypes
        self.connections = connections
        self.definition = definition
        self.rows = rows
        self.bytes = bytes
        self.statements = statements
        self.process = process
        self.title = title
        # Carried for the listener: see dsp_airflow/listener.py.
        self.dsp_notify = dsp_notify
        self.dsp_gate = True

    @classmethod
    def get_serialized_fields(cls) -> frozenset[str]:
        """Airflow's, and what this step carries."""
        return cast(
            "frozenset[str]",
            super().get_serialized_fields(),  # type: ignore[no-untyped-call]
        ) | {"dsp_notify", "dsp_gate"}

    def execute(self, context: Any) -> None:
        """Asks, unless it has asked already; goes to sleep until it is decided."""
        with translated(retry_unknown=True, retry_stopped=lambda: True):
            if not settings.enforced():
                self.log.info("%s; the run of %s goes on", settings.NOT_ENFORCED, self.dag_id)
                return
            require_shared_state()
            with open_state() as database:
                requests, key = Requests(database), dag_run_key(context["dag_run"])
                with _recorded(database, key):
                    subject, owner = self._subject(database, key)
                    request = requests.ask(key, subject, _requester(context, owner))
                    self._go_on_or_wait(requests, request)

    def resume(self, context: Any, event: Mapping[str, Any]) -> None:
        """The trigger says that something has happened; what, the state database says."""
        del context
        with (
            translated(retry_unknown=True, retry_stopped=lambda: True),
            open_state() as database,
        ):
            requests = Requests(database)
            request = requests.get(str(event["request"]))
            with _recorded(database, request.key):
                self._go_on_or_wait(requests, request)

    # Helpers

    def _go_on_or_wait(self, requests: Requests, known: Request) -> None:
        """Returns when the execution may begin; else raises: asleep, or the end."""
        request = requests.look(known.id)
        relay.start_for(requests.database, CONNECTION)
        if request.state == State.EXECUTION_FAILED:
            request = requests.enter(request.key)
        if request.state == State.EXECUTING:
            self.log.info("Request %s is approved by %s", request.id, _approvers(request))
            return
        if not request.open:
            self._fail(requests, request)
        if request.waits_for is None:
            self.log.info("Request %s is approved and waits for its start by hand", request.id)
        else:
            self.log.info(
                "Request %s waits for %s, until %s UTC; see dsp requests show %s",
                request.id,
                requests.waits_for(request),
                f"{request.until:%Y-%m-%d %H:%M:%S}" if request.until else "-",
                request.id,
            )
        self.defer(
            trigger=ApprovalTrigger(request=request.id),
            method_name="resume",
            timeout=LONGEST_WAIT + timedelta(hours=1),
        )

    def _fail(self, requests: Requests, request: Request) -> NoReturn:
        last = requests.history(request.id)[-1]
        reason = f"by {last.actor}" + (f": {last.note}" if last.note else "")
        why = machine.failure(request.case, reason)
        raise AirflowFailException(
            f"request {request.id}: {why or f'it is {request.state}'}; nothing was executed"
        )

    def _subject(self, database: StateDatabase, key: str) -> tuple[Subject, str]:
        """What is asked for, and who answers for it."""
        found = Estimates(database).of(key)
        header = found.pop(HEADER, None)
        if header is not None and self.asks_for is None:
            return of_estimates(header, list(found.values())), str(header["owner"])
        subject = declared(
            self.dag_id,
            self.asks_for or self._kind(found.values()),
            title=self.title,
            subtypes=self.subtypes,
            connections=self.connections,
            definition=self.definition,
            rows=_number(self.rows),
            bytes=_number(self.bytes),
            statements=_number(self.statements),
            process=self.process,
            jobs=list(found.values()),
        )
        owner = str(self.owner)
        return subject, "" if owner == "airflow" else owner

    def _kind(self, found: Iterable[Mapping[str, Any]]) -> str:
        types = {str(one["type"]) for one in found}
        if not types:
            raise ConfigError(
                f"{type(self).__name__} {self.task_id} needs asks_for, such as database_change, or "
                "an EstimateOperator before it"
            )
        return furthest(types)


@contextmanager
def _recorded(database: StateDatabase, key: str) -> Iterator[None]:
    """A run that may not begin has failed, for a reason that mails and lists tell."""
    try:
        yield
    except (DspError, AirflowFailException) as error:
        runs = Runs(database)
        run = None if isinstance(error, Transient) else runs.find(key)
        if run is not None:
            runs.finish(run.id, "failed", str(error))
        raise


def _requester(context: Mapping[str, Any], owner: str) -> str:
    """Who triggered the run; of a scheduled one who answers for the task."""
    who = getattr(context["dag_run"], "triggering_user_name", None)
    return str(who) if who else owner or NOBODY


def _approvers(request: Request) -> str:
    if request.covered_by is not None:
        return f"request {request.covered_by}"
    people = [one.actor for one in request.decisions if one.verdict == "approved"]
    return ", ".join(people) or "its process, automatically"


def _number(value: int | str | None) -> int | None:
    """A rendered template is text."""
    return None if value in (None, "") else int(value)
