"""What a step's error means to Airflow: try again, or fail now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dsp_airflow.config.errors import ConfigProblems
from dsp_airflow.engine.errors import DspError, Terminated, Transient


@contextmanager
def translated(*, retry_unknown: bool, retry_stopped: Callable[[], bool]) -> Iterator[None]:
    """Lets through what a retry may heal; anything else fails the task without one.

    ``retry_unknown``: an error nobody foresaw is tried again (never around a delete).
    ``retry_stopped``: asked once the work stopped: was the process told to end, not the run?
    """
    try:
        yield
    except (Transient, AirflowFailException, AirflowSkipException):
        raise
    except Terminated as error:
        if retry_stopped():
            raise
        raise AirflowFailException(str(error)) from error
    except (ConfigProblems, DspError) as error:
        raise AirflowFailException(str(error)) from error
    except Exception as error:
        if retry_unknown:
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error
