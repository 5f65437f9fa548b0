"""The state database, as all requests of one API server share it."""

from __future__ import annotations

import logging
from threading import Lock
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from dsp_airflow.engine.errors import DspError
from dsp_airflow.state.database import StateDatabase, open_state

log = logging.getLogger(__name__)

SECONDS = 20
"""What a request may ask of the state database: nobody waits longer for a page."""


class SharedState:
    """Opened by the first request that needs it, and again as long as that fails."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._database: StateDatabase | None = None

    def open(self) -> StateDatabase:
        """The state database of ``[dsp] sql_alchemy_conn``."""
        with self._lock:
            if self._database is None:
                self._database = open_state(seconds=SECONDS)
            return self._database

    def close(self) -> None:
        """At the server's end."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None


def shared(request: Request) -> StateDatabase:
    """503 where it cannot be opened: what is wrong with it is for the log, not for everybody."""
    state: SharedState = request.app.state.dsp
    try:
        return state.open()
    except DspError as error:
        log.exception("the state database cannot be opened")
        detail = "the state database cannot be opened; the log of the API server says why"
        raise HTTPException(503, detail, headers={"Retry-After": "5"}) from error


Database = Annotated[StateDatabase, Depends(shared)]
