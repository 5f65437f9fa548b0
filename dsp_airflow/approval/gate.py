"""What stands between a step and its first write: whether this very work is approved, still."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, Protocol

from dsp_airflow.approval import settings
from dsp_airflow.approval.machine import State, failure
from dsp_airflow.approval.records import Request, estimate_of, within
from dsp_airflow.approval.requests import Requests
from dsp_airflow.approval.subject import digest_of
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.ports import Pace
from dsp_airflow.engine.removal import Count
from dsp_airflow.state.database import StateDatabase

_BEGUN = frozenset({State.EXECUTING, State.EXECUTION_FAILED, State.EXECUTION_SUCCEEDED})
LOOK_EVERY = 5.0
"""Seconds between two looks whether the time for the execution is over."""


class Gate(Protocol):
    """Asked by the steps of a run. Each method raises where the work may not be done."""

    def planned(self, plan: Plan) -> None:
        """The plan is about to be stored; nothing of it is done yet."""
        ...

    def copying(self, plan: Plan) -> None:
        """The plan's job is about to write into its target."""
        ...

    def deleting(self, plan: Plan, run: str, numbers: Collection[int] | None) -> None:
        """Batches of a run are about to be deleted from the source; ``None``: all of them."""
        ...

    def marking(self, plan: Plan, run: str, numbers: Collection[int] | None) -> None:
        """Batches of a run are about to be recorded as removed from the source by hand."""
        ...

    def removing(self, plan: Plan, count: Count) -> None:
        """Rows of the target are about to go, or its table. ``count`` tells how many."""
        ...

    def undoing(self, plan: Plan, run: str, rows: int) -> None:
        """So many rows of the target, which a run wrote, are about to go or to be set back."""
        ...

    def repairing(self, plan: Plan, run: str, rows: int) -> None:
        """Batches of a run, of so many rows in all, are about to be copied once more."""
        ...

    def checking(self) -> None:
        """What was copied is about to be compared: nothing is written, so nothing is refused."""
        ...

    def before_batch(self) -> None:
        """A batch is about to begin; asked often."""
        ...

    def ended(self, error: str | None = None) -> None:
        """All of the work is done, or it failed for good."""
        ...


class OpenGate:
    """Nothing has to be approved."""

    def planned(self, plan: Plan) -> None:
        """See ``Gate``."""

    def copying(self, plan: Plan) -> None:
        """See ``Gate``."""

    def deleting(self, plan: Plan, run: str, numbers: Collection[int] | None) -> None:
        """See ``Gate``."""

    def marking(self, plan: Plan, run: str, numbers: Collection[int] | None) -> None:
        """See ``Gate``."""

    def removing(self, plan: Plan, count: Count) -> None:
        """See ``Gate``."""

    def undoing(self, plan: Plan, run: str, rows: int) -> None:
        """See ``Gate``."""

    def repairing(self, plan: Plan, run: str, rows: int) -> None:
        """See ``Gate``."""

    def checking(self) -> None:
        """See ``Gate``."""

    def before_batch(self) -> None:
        """See ``Gate``."""

    def ended(self, error: str | None = None) -> None:
        """See ``Gate``."""


class ClosedGate(OpenGate):
    """Whatever would be written was not asked for: a way into the data that has no approval."""

    def planned(self, plan: Plan) -> None:
        """See ``Gate``."""
        self._refuse(plan)

    def copying(self, plan: Plan) -> None:
        """See ``Gate``."""
        self._refuse(plan)

    def deleting(self, plan: Plan, run: str, numbers: Collection[int] | None) -> None:  # noqa: ARG002
        """See ``Gate``."""
        self._refuse(plan)

    def marking(self, plan: Plan, run: str, numbers: Collection[int] | None) -> None:  # noqa: ARG002
        """See ``Gate``."""
        self._refuse(plan)

    def removing(self, plan: Plan, count: Count) -> None:  # noqa: ARG002
        """See ``Gate``."""
        self._refuse(plan)

    def undoing(self, plan: Plan, run: str, rows: int) -> None:  # noqa: ARG002
        """See ``Gate``."""
        self._refuse(plan)

    def repairing(self, plan: Plan, run: str, rows: int) -> None:  # noqa: ARG002
        """See ``Gate``."""
        self._refuse(plan)

    def _refuse(self, plan: Plan) -> None:
        raise Refused(
            f"job {plan.job}: [dsp] enforce_approval is on, and nobody was asked to approve this"
        )


class ApprovedGate:
    """Lets through what the latest request of a key was approved for, while it may execute."""

    def __init__(self, requests: Requests, key: str) -> None:
        self._requests = requests
        self._key = key
        self._lock = threading.Lock()
        self._looked = time.monotonic()

    def planned(self, plan: Plan) -> None:
        """See ``Gate``. Here the rows are counted once more, too."""
        request, estimate = self._require(plan)
        approved = self._decided_on(request, plan.job) or estimate
        percent = settings.tolerance()
        if not within(approved["rows"], plan.rows, percent):
            self._void(
                request,
                f"job {plan.job} has {plan.rows:,} rows now, and was approved for "
                f"{approved['rows']:,}, which is more than {percent} % off",
            )

    def copying(self, plan: Plan) -> None:
        """See ``Gate``."""
        self._require(plan)

    def deleting(self, plan: Plan, run: str, numbers: Collection[int] | None) -> None:
        """See ``Gate``. A purge by hand is approved for its very batches."""
        request, estimate = self._require(plan)
        if "batches" not in estimate:
            if estimate["purge"] != "system":
                raise Refused(
                    f"job {plan.job}: request {request.id} was approved without a deletion; a "
                    "purge by hand is a request of its own"
                )
            return
        if estimate.get("marks"):
            raise Refused(
                f"job {plan.job}: request {request.id} was approved to mark batches as removed by "
                "hand; a purge is a request of its own"
            )
        self._require_batches(plan, request, estimate, run, numbers)

    def marking(self, plan: Plan, run: str, numbers: Collection[int] | None) -> None:
        """See ``Gate``. What was approved as a purge is no word for it."""
        request, estimate = self._require(plan)
        if not estimate.get("marks"):
            raise Refused(
                f"job {plan.job}: request {request.id} was not approved to mark batches as removed "
                "by hand; that is a request of its own"
            )
        self._require_batches(plan, request, estimate, run, numbers)

    def removing(self, plan: Plan, count: Count) -> None:
        """See ``Gate``. Where nothing is left to go, nothing is off."""
        request, estimate = self._require(plan)
        now = count()
        if not now:
            return
        approved = (self._decided_on(request, plan.job) or estimate).get("removes")
        told = (
            f"job {plan.job} would delete {now:,} rows of {plan.target.label}, and was approved to"
        )
        percent = settings.tolerance()
        if approved is None:
            self._void(request, f"{told} delete none there")
        if not within(approved["rows"], now, percent):
            many = f"{approved['rows']:,}, which is more than {percent} % off"
            self._void(request, f"{told} delete {many}")

    def undoing(self, plan: Plan, run: str, rows: int) -> None:
        """See ``Gate``. Fewer are no surprise: it may have been killed half-way."""
        self._require_run(plan, "rollback", run, rows)

    def repairing(self, plan: Plan, run: str, rows: int) -> None:
        """See ``Gate``. Another check may have found more since; then that is asked for anew."""
        self._require_run(plan, "repair", run, rows)

    def checking(self) -> None:
        """See ``Gate``. A check that failed, and is tried again, is what the run goes on with."""
        self._requests.resume(self._key)

    def before_batch(self) -> None:
        """See ``Gate``. Looks every few seconds; all workers of a step share the look."""
        with self._lock:
            if time.monotonic() - self._looked < LOOK_EVERY:
                return
            self._looked = time.monotonic()
        found = self._requests.find(self._key)
        if found is None:
            raise Refused(f"the request of {self._key} is gone from the state database")
        found = self._requests.still(found.id)
        # Who began could; what another step has come to meanwhile does not stop this one.
        if found.state not in _BEGUN:
            why = failure(found.case, found.reason or "")
            raise why or Refused(f"request {found.id} is {found.state}")

    def ended(self, error: str | None = None) -> None:
        """See ``Gate``."""
        self._requests.finish(self._key, error or "", succeeded=error is None)

    def _require_run(self, plan: Plan, kind: str, run: str, rows: int) -> None:
        """The request is for this very run, and for no fewer rows than this."""
        request, estimate = self._require(plan)
        does = {"rollback": "roll {} back", "repair": "repair {}"}[kind].format(f"run {run}")
        if estimate.get(kind) != run:
            raise Refused(
                f"job {plan.job}: request {request.id} was not approved to {does}, which is a "
                "request of its own"
            )
        approved = (self._decided_on(request, plan.job) or estimate)["rows"]
        percent = settings.tolerance()
        if rows > approved and not within(approved, rows, percent):
            acts = {"rollback": "undo", "repair": "copy"}[kind]
            self._void(
                request,
                f"job {plan.job} would {acts} {rows:,} rows of {plan.target.label}, and was "
                f"approved for {approved:,}, which is more than {percent} % off",
            )

    def _require_batches(
        self,
        plan: Plan,
        request: Request,
        estimate: Mapping[str, Any],
        run: str,
        numbers: Collection[int] | None,
    ) -> None:
        wanted = batches_of(numbers)
        if (estimate["run"], estimate["batches"]) != (run, wanted):
            what = "marked as deleted" if estimate.get("marks") else "deleted"
            self._void(
                request,
                f"job {plan.job}: batches {_named(wanted)} of run {run} would be {what}, and "
                f"approved were {_named(estimate['batches'])} of run {estimate['run']}",
            )

    def _require(self, plan: Plan) -> tuple[Request, dict[str, Any]]:
        """The request, executing, and what it says of this job; both are what was decided on."""
        request = self._requests.enter(self._key)
        bound = request.evidence["bound"]
        estimate = estimate_of(request.evidence, plan.job)
        if digest_of(bound) != request.digest or estimate is None:
            self._void(request, f"job {plan.job} is not what request {request.id} was made for")
        approved = bound["jobs"][plan.job]
        if approved["definition"] != plan.definition:
            self._void(
                request,
                f"job {plan.job}: its definition, a table, or where a connection leads is not what "
                "was approved",
            )
        return request, {**estimate, **approved}

    def _decided_on(self, request: Request, job: str) -> dict[str, Any] | None:
        """What people saw of the job: it may have been with an earlier request that covers it."""
        if request.covered_by is not None:
            request = self._requests.get(request.covered_by)
        return estimate_of(request.evidence, job)

    def _void(self, request: Request, why: str) -> NoReturn:
        self._requests.void(request.id, why)
        raise Refused(
            f"the approval of request {request.id} is void: {why}. Nothing was written by this "
            "step; ask anew"
        )


class GuardedPace:
    """Begins no batch once the time for the execution is over. Shared by a job's workers."""

    def __init__(self, inner: Pace, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    def before_batch(self, halt: threading.Event | None = None) -> None:
        """See ``ports.Pace``."""
        self._inner.before_batch(halt)
        self._gate.before_batch()


def gate_of(database: StateDatabase, key: str) -> Gate:
    """The gate of what has this key, as the installation asks for it."""
    if not settings.enforced():
        return OpenGate()
    return ApprovedGate(Requests(database), key)


def default_gate() -> Gate:
    """Of a run that nobody gave one."""
    return ClosedGate() if settings.enforced() else OpenGate()


def batches_of(numbers: Collection[int] | None) -> list[int] | str:
    """Batch numbers as a request is bound to them."""
    return "all" if numbers is None else sorted(numbers)


def _named(batches: list[int] | str) -> str:
    return batches if isinstance(batches, str) else ", ".join(map(str, batches))
