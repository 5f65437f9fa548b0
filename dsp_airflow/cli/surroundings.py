"""Airflow as a library: its connections wanted, its logs and folders not."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dsp_airflow.cli.output import stdout

if TYPE_CHECKING:
    from dsp_airflow.engine.ports import Store


def opener() -> Callable[[str], Store]:
    """Gives stores by connection id, each resolved once. Airflow is imported by the first."""
    lock = threading.Lock()
    known: dict[str, Store] = {}

    def open_once(conn_id: str) -> Store:
        with lock:
            if conn_id not in known:
                quieten()
                from dsp_airflow.connections import open_store

                known[conn_id] = open_store(conn_id)
            return known[conn_id]

    return open_once


def quieten() -> None:
    """To be called before Airflow is imported: it then says errors only, and to stderr.

    A connection needs no log files; without this setting the import makes their folder in
    AIRFLOW_HOME.
    """
    stdout()
    if "airflow" in sys.modules:
        return
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("AIRFLOW__LOGGING__BASE_LOG_FOLDER", tempfile.gettempdir())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    import structlog

    # What is logged before Airflow has configured its logging.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def has_state() -> bool:
    """Whether there is a state database: what only looks makes none."""
    from dsp_airflow.state.location import state_url

    url = state_url(None)
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


def log_to_stderr() -> None:
    """The package's own warnings, in the style of the other lines; Airflow leaves them alone."""
    own = logging.getLogger("dsp_airflow")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    own.handlers = [handler]
    own.propagate = False
