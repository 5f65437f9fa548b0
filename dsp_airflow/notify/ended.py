"""Who is told of which end of a task's runs, and the DAG callbacks that do it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Literal, Self

from dsp_airflow.approval.estimates import Estimates
from dsp_airflow.approval.requests import Requests
from dsp_airflow.engine.errors import ConfigError, DspError
from dsp_airflow.notify import delivery, text
from dsp_airflow.notify.drills import trials_of
from dsp_airflow.notify.end import TIMED_OUT, End
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.landmarks import landmarks
from dsp_airflow.state.outbox import MailKey
from dsp_airflow.state.records import EndState
from dsp_airflow.state.repairs import Repairs
from dsp_airflow.state.rollbacks import Rollbacks
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches

log = logging.getLogger(__name__)

LATEST = "latest"

Event = Literal["failure", "success"]
Act = Literal["run", "purge", "rollback", "repair"]
"""What the DAG does: run the task; or, asked for by its form, something about an earlier run."""


@dataclass(frozen=True)
class RunEnded:
    """A DAG callback: records that the run ended, and tells people by mail.

    ``when`` and ``to`` are the task's ``notify``. DAG runs of what is done ``by_hand`` have no run
    of their own.
    """

    event: Event
    task: str
    title: str
    when: str
    to: tuple[str, ...]
    act: Act = "run"

    @property
    def by_hand(self) -> bool:
        """Whether it is about an earlier run."""
        return self.act != "run"

    @property
    def tells(self) -> bool:
        """Whether people want to hear of this end."""
        return self.when in {self.event, "always"}

    def carried(self) -> str:
        """All but the event, as text for the DAG to carry."""
        return json.dumps({k: v for k, v in asdict(self).items() if k != "event"})

    @classmethod
    def load(cls, event: Event, carried: str) -> Self:
        """From that text."""
        values = json.loads(carried)
        # What a DAG carries that an earlier version made.
        if values.pop("by_hand", False):
            values["act"] = "purge"
        return cls(event, **values | {"to": tuple(values["to"])})

    def __call__(self, context: Mapping[str, Any]) -> None:
        """Airflow calls this in a child process of the DAG processor."""
        letter = self.letter(End.of_callback(context))
        if letter is not None:
            delivery.send_once(letter)

    def letter(self, end: End) -> delivery.Letter | None:
        """Records the end, and writes the mail where people want one."""
        facts = self._facts(end)
        if facts is None or not self.tells:
            return None
        summary = facts.summary
        own = summary.run if summary and not self.by_hand else end.key
        return delivery.Letter(
            key=MailKey(
                own,
                end.attempt or (summary.attempt if summary else 1),
                "terminated" if facts.stopped else self.event,
            ),
            to=tuple(dict.fromkeys(self.to)),
            subject=text.subject(self, end, facts),
            body=text.body(self, end, facts),
        )

    def _facts(self, end: End) -> text.Facts | None:
        """How the run ended and what it did, by the state database.

        ``None`` where nothing was begun, as somebody had switched the task off.
        """
        try:
            with open_state() as database:
                runs = Runs(database)
                Requests(database).close(
                    end.key, text.reason(end, self.event), succeeded=self.event == "success"
                )
                run = self._earlier(runs, end) if self.by_hand else self._recorded(runs, end)
                if self._switched_off(database, run, end):
                    return None
                if run is None:
                    return text.Facts()
                summary = runs.summary(run)
                trials = trials_of(runs.get(run))
                facts = text.Facts(summary, landmarks(database, run), _now(database), trials=trials)
                if self.act == "rollback":
                    facts = replace(facts, rollbacks=tuple(Rollbacks(database).of_run(run)))
                elif self.act == "repair":
                    facts = replace(facts, repairs=tuple(Repairs(database).of_run(run)))
                # A purge by hand tells it as its error: the run keeps the end that it had.
                if self.event == "failure" and summary.state == "terminated" and not self.by_hand:
                    asked = runs.get(run)
                    if asked.stopped_by_hand:
                        by = asked.stop_requested_by
                        facts = replace(facts, stopped=asked.stop, stopped_by=by)
                return facts
        except DspError as error:
            log.warning("the end of %s could not be recorded: %s", end.key, error)
            return text.Facts(reachable=False)

    def _recorded(self, runs: Runs, end: End) -> str | None:
        run = runs.find(end.key)
        if run is None:
            return None
        stop: str | None = None
        if end.by_hand or end.reason == TIMED_OUT:
            # Airflow ends the steps' processes, each at its next heartbeat; this is no later.
            stop = text.reason(end, self.event)
        if self.event == "failure":
            jobs = runs.summary(run.id).jobs
            first = next((j.error for j in jobs if j.error), None)
            asked = run.stop if run.stopped_by_hand else None
            # Who asked it to stop got what he asked for.
            ends: EndState = "failed" if asked is None else "terminated"
            runs.finish(run.id, ends, first or asked or text.reason(end), stop=stop)
        elif end.by_hand:
            runs.finish(run.id, "terminated", stop, stop=stop)
        else:
            runs.finish(run.id, "succeeded")
        return run.id

    def _switched_off(self, database: StateDatabase, run: str | None, end: End) -> bool:
        """Whether it was refused for that, which whoever triggered it has seen already."""
        switch = Switches(database).of(self.task)
        if switch is None:
            return False
        if switch.state == "enabled":
            # Airflow may tell of the end when the task is already switched on again.
            return run is None and end.started_before(switch.changed_at)
        return run is None or (self.by_hand and switch.state == "offline")

    def _earlier(self, runs: Runs, end: End) -> str | None:
        """The run that it was about: as its first step found it, or as the form named it."""
        looked = Estimates(runs.database).of(end.key).values()
        names = {"purge": "run", "rollback": "rollback", "repair": "repair"}
        found = next((one[names[self.act]] for one in looked if names[self.act] in one), None)
        if found is None and end.asked in {None, LATEST}:
            run = runs.latest(self.task)
            return run.id if run else None
        try:
            return runs.get(str(found or end.asked)).id
        except ConfigError:
            return None  # the form named no run, which is why it failed


@dataclass(frozen=True)
class Told:
    """One end of one run: what a process needs that tells of it without the DAG."""

    ended: RunEnded
    end: End

    def dump(self) -> str:
        """As text."""
        ended = {"event": self.ended.event, "carried": self.ended.carried()}
        return json.dumps({"ended": ended, "end": asdict(self.end)})

    @classmethod
    def load(cls, dumped: str) -> Self:
        """From that text."""
        values = json.loads(dumped)
        return cls(RunEnded.load(**values["ended"]), End(**values["end"]))

    def post(self, head_start: timedelta) -> delivery.Letter | None:
        """Records the end and puts the mail into the outbox.

        Returns a mail that has to go out without it, as the state database is out of reach.
        A callback then does the same; so only where none comes there is such a mail.
        """
        letter = self.ended.letter(self.end)
        if letter is None:
            return None
        after = timedelta(0) if self.end.by_hand else head_start
        if delivery.post(letter, after) or not self.end.by_hand:
            return None
        return letter


def _now(database: StateDatabase) -> str:
    return f"{database.now():%Y-%m-%d %H:%M:%S} UTC"
