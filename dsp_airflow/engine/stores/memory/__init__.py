"""A database in this process, for tests: transactions, row locks, and failures on demand.

Tables hold Python values in the types of ``canon``; keys and the wire carry canonical texts.
Filters are comparisons with literals joined by AND, in the words of PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.ports import Session
from dsp_airflow.engine.stores.memory.database import POINTS, Database, Killed
from dsp_airflow.engine.stores.memory.session import MemorySession
from dsp_airflow.engine.stores.memory.values import converted, from_text


class MemoryStore(Database):
    """An endpoint whose tables live here. ``fail`` orders what goes wrong, and where."""

    system = "memory"

    def having(self, options: SessionOptions) -> MemoryStore:
        del options  # Nobody waits here, and nobody lists sessions.
        return self

    @contextmanager
    def session(self) -> Iterator[Session]:
        self.passing("session")
        session = MemorySession(self)
        try:
            yield session
        finally:
            session.close()


__all__ = ["POINTS", "Killed", "MemorySession", "MemoryStore", "converted", "from_text"]
