"""The few calls of Airflow's REST API that the demonstration and the tests need."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from dsp_airflow.demo.errors import DemoError

TIMEOUT_SECONDS = 30.0
ATTEMPTS = 6
NOT_FOUND = 404
CONFLICT = 409
SERVER_ERROR = 500
ENDED = frozenset({"success", "failed"})


@dataclass(frozen=True, slots=True)
class TaskInstance:
    """One task of a DAG run; `state` is None until the scheduler has looked at it."""

    task: str
    state: str | None
    tries: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """A DAG file, or one task file behind it, that could not be read."""

    filename: str
    text: str


class AirflowApi:
    """A client of one Airflow. Calls that may be repeated survive a busy server.

    Everything but `health` needs a `login` first. Raises httpx's errors.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def login(self, user: str, password: str) -> None:
        """Get a token for all further calls."""
        answer = self._client.post("/auth/token", json={"username": user, "password": password})
        answer.raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def health(self) -> dict[str, str | None]:
        """Return each part of Airflow with its status, `healthy` or something else."""
        answer = self._client.get("/api/v2/monitor/health", timeout=5)
        answer.raise_for_status()
        return {part: (found or {}).get("status") for part, found in answer.json().items()}

    def wake_task_server(self) -> None:
        """Have the API that tasks talk to built now; the first call of all takes seconds."""
        self._client.get("/execution/health").raise_for_status()

    def has_dag(self, dag: str) -> bool:
        """Tell whether the DAG processor has found the DAG."""
        return self._send("GET", f"/dags/{dag}", expected=NOT_FOUND).status_code != NOT_FOUND

    def unpause(self, dag: str) -> None:
        """Let the scheduler work on the DAG's runs."""
        self._send("PATCH", f"/dags/{dag}", json={"is_paused": False})

    def trigger(self, dag: str, run: str, conf: Mapping[str, Any] | None = None) -> None:
        """Start a run under a name; repeated under the same name it changes nothing."""
        body = {"dag_run_id": run, "logical_date": None, "conf": dict(conf or {})}
        self._send("POST", f"/dags/{dag}/dagRuns", json=body, expected=CONFLICT)

    def mark(self, dag: str, run: str, state: str) -> None:
        """Set a run's state by hand, as its page does."""
        self._send("PATCH", f"/dags/{dag}/dagRuns/{run}", json={"state": state})

    def clear(self, dag: str, run: str) -> None:
        """Have every step of a run done again, as its page does."""
        self._send("POST", f"/dags/{dag}/dagRuns/{run}/clear", json={"dry_run": False})

    def run_state(self, dag: str, run: str) -> str:
        """Return `queued`, `running`, `success` or `failed`."""
        state: str = self._send("GET", f"/dags/{dag}/dagRuns/{run}").json()["state"]
        return state

    def run_states(self, run: str) -> dict[str, str]:
        """Return the state of the run of that name in every DAG that has one, up to 100."""
        body = self._send("GET", "/dags/~/dagRuns?limit=100").json()
        return {r["dag_id"]: r["state"] for r in body["dag_runs"] if r["dag_run_id"] == run}

    def task_instances(self, dag: str, run: str) -> list[TaskInstance]:
        """Return the tasks of a run in the order in which they started, the waiting last."""
        body = self._send("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances").json()
        found = sorted(
            body["task_instances"], key=lambda t: (t["start_date"] is None, t["start_date"] or "")
        )
        return [
            TaskInstance(t["task_id"], t["state"], t["try_number"], t["duration"]) for t in found
        ]

    def import_failures(self) -> list[ImportFailure]:
        """Return what the DAG processor could not read."""
        body = self._send("GET", "/importErrors").json()
        return [ImportFailure(e["filename"], e["stack_trace"]) for e in body["import_errors"]]

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return the answer of any other call that only reads."""
        found: dict[str, Any] = self._send("GET", path, query=query).json()
        return found

    def page(self, url: str) -> httpx.Response:
        """Return a page that is no part of the API, whatever its status."""
        return self._client.get(url)

    def wait_for(self, enough: Callable[[], bool], seconds: float) -> bool:
        """Ask twice a second; tell whether it came true in time."""
        deadline = time.monotonic() + seconds
        while not (found := enough()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def wait_for_run(self, dag: str, run: str, seconds: float) -> str:
        """Return the state in which the run ended; raise DemoError after `seconds`."""
        deadline = time.monotonic() + seconds
        while (state := self.run_state(dag, run)) not in ENDED:
            if time.monotonic() > deadline:
                raise DemoError(f"run {run} of {dag} is still {state} after {seconds:g} s")
            time.sleep(0.5)
        return state

    def wait_for_dag(self, dag: str, seconds: float) -> None:
        """Return once the DAG is there; raise DemoError with the import errors otherwise."""
        deadline = time.monotonic() + seconds
        while not self.has_dag(dag):
            if time.monotonic() > deadline:
                errors = "\n".join(f"{e.filename}\n{e.text}" for e in self.import_failures())
                raise DemoError(f"Airflow did not find the DAG {dag} in {seconds:g} s", errors)
            time.sleep(0.5)

    def _send(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        expected: int | None = None,
    ) -> httpx.Response:
        """Repeat while the server is out of reach or in trouble: every call here may be."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._client.request(method, f"/api/v2{path}", json=json, params=query)
            except httpx.TransportError:
                if attempt == ATTEMPTS:
                    raise
            else:
                if answer.status_code == expected:
                    return answer
                if answer.status_code < SERVER_ERROR or attempt == ATTEMPTS:
                    answer.raise_for_status()
                    return answer
            time.sleep(attempt)
        raise AssertionError("unreachable")
