"""A lock in two strengths, for those who write and those who prove."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dsp_airflow.engine.errors import Transient

PATIENCE: Final = 10.0
"""Seconds to wait for those who write."""


class Turns:
    """Many may share, or one be alone."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._sharing = 0
        self._alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._change:
            self._change.wait_for(lambda: not self._alone)
            self._sharing += 1
        try:
            yield
        finally:
            with self._change:
                self._sharing -= 1
                self._change.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._change:
            if not self._change.wait_for(lambda: not (self._alone or self._sharing), PATIENCE):
                raise Transient("other runs are copying into the table; retry")
            self._alone = True
        try:
            yield
        finally:
            with self._change:
                self._alone = False
                self._change.notify_all()
