"""How long a step sleeps at least."""

from __future__ import annotations

import asyncio
import time

LEAST = 10.0
"""Seconds. A scheduler hears that a step went to sleep some time after it has; where the step is
queued again by then, it is taken for one that was killed (Airflow 3.3,
``SchedulerJobRunner.process_executor_events``).
"""


async def rest(began: float) -> None:
    """Sleeps until ``LEAST`` seconds have passed since ``began`` of the monotonic clock."""
    await asyncio.sleep(max(0.0, began + LEAST - time.monotonic()))
