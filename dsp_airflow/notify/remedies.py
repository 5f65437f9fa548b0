"""What to do about an error, by the words it holds. ``docs/operations.md`` has the same table."""

from __future__ import annotations

from dataclasses import dataclass

from dsp_airflow.engine.drift import DRIFTED

CLEAR = "Then clear the failed step in Airflow; it goes on where it stopped."
TIMEOUT = "AirflowTaskTimeout"
ASK = "Then clear the whole run in Airflow: it is looked at, and asked for, anew."
ANEW = "Then start a new run; clearing this one does not help."
GRANT = "Grant the missing privilege; docs/privileges.md lists them."
LACKING = (
    "permission denied",
    "the role lacks",
    "the role may not",
    "the login lacks",
    "the login may not",
    "command denied",
    "not authorized on",
)
"""How each system says that a privilege is missing."""


@dataclass(frozen=True)
class Remedy:
    """``words`` in an error; the first step of a person; and how the work goes on."""

    words: str
    do: str
    then: str = CLEAR


REMEDIES = (
    Remedy(
        "rows differ between source and target",
        "Find out why rows differ before any purge. Where the target is wrong, dsp repair copies "
        "those rows once more.",
    ),
    Remedy("cannot connect", "Bring the server, or the network to it, back."),
    Remedy("correct login and password", "Correct the login in the Airflow connection."),
    *(Remedy(words, GRANT) for words in LACKING),
    Remedy("make room on the server", "Make room on the disk that is full."),
    Remedy("does not fit its target type", "Widen the target column, or correct the value."),
    Remedy("does not accept NULL", "Map the column with a constant or with coalesce."),
    Remedy("already holds this value", "Decide which of the two rows is right."),
    Remedy(
        "cannot share between machines",
        "Give the package a PostgreSQL database; docs/scaling.md says how.",
    ),
    Remedy("was altered since the run was planned", "Find out who altered the table.", ANEW),
    Remedy(
        DRIFTED,
        "Look whether the copies are still what they should be, then accept the table as it is: "
        "dsp drift FILE --accept, or the button on the run's page.",
    ),
    Remedy("was edited after run", "Check that the edit of the task file was meant.", ANEW),
    Remedy("leads elsewhere", "Check that the connection was changed on purpose.", ANEW),
    Remedy("may not purge", "Remove the reason named above, or accept it in the task file."),
    Remedy("the plan in the state database is not the one", "Find out who edited it.", ANEW),
    Remedy("no record of batch", "Find out who changed the state database.", ANEW),
    Remedy("the request was rejected", "Ask who rejected it; dsp requests show says why.", ASK),
    Remedy("the request was cancelled", "Ask who cancelled it; dsp requests show says why.", ASK),
    Remedy("APPROVAL_EXPIRED", "Find somebody who decides in time.", ASK),
    Remedy("is void", "Find out what changed since it was approved.", ASK),
    Remedy("has no grant to", "Have the grant given by whom the message names."),
    Remedy("nobody was asked", "Put the approval before this step.", ASK),
    Remedy(TIMEOUT, "Find out what was slow, or raise execution_timeout."),
    Remedy("the timeout of", "Find out what was slow, or raise timeout in the task file."),
)


def remedy(error: str) -> Remedy | None:
    """The first that fits."""
    return next((one for one in REMEDIES if one.words.lower() in error.lower()), None)


def next_step(error: str) -> str | None:
    """What to do about an error and how the work goes on then, where that is known."""
    known = remedy(error)
    return None if known is None else f"{known.do} {known.then}"
