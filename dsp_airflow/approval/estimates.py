"""What looks at jobs found, kept until somebody is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select

from dsp_airflow.state.codec import canonical
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import ESTIMATES

HEADER = ""
"""In place of a job: what is known of the run as a whole."""


class Estimates:
    """The latest look at each job of each run."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def put(self, key: str, job: str, found: Mapping[str, Any]) -> None:
        """Keeps what was found, in place of what an earlier look of this key found."""
        with self._database.write() as connection:
            mine = (ESTIMATES.c.key == key) & (ESTIMATES.c.job == job)
            connection.execute(delete(ESTIMATES).where(mine))
            connection.execute(
                insert(ESTIMATES).values(
                    key=key, job=job, body=canonical(dict(found)), created_at=clock(connection)
                )
            )

    def of(self, key: str) -> dict[str, dict[str, Any]]:
        """What was found under a key, by job; the run's own under ``HEADER``."""
        query = select(ESTIMATES.c.job, ESTIMATES.c.body).where(ESTIMATES.c.key == key)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(ESTIMATES.c.job)).all()
        return {row.job: json.loads(row.body) for row in rows}
