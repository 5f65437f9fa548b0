"""The servers that a job's limits are about."""

from __future__ import annotations

from dsp_airflow.config.jobs import TableJob
from dsp_airflow.endpoints import OpenStore
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.limits import Limit
from dsp_airflow.engine.ports import Store


def limits_of(job: TableJob, ends: tuple[Store, ...], open_store: OpenStore) -> tuple[Limit, ...]:
    """``ends`` are the databases that the job reads and writes.

    ``ConfigError`` where nobody could be asked.
    """
    if job.limits is None:
        return ()
    lag, threads = job.limits.replica_lag, job.limits.threads_running
    asked = tuple(store for store in ends if store.system == "mysql")
    if not asked and (threads is not None or (lag is not None and not lag.connections)):
        systems = " and ".join(sorted({store.system for store in ends}))
        raise ConfigError(
            f"job {job.name}: limits are asked of servers of MySQL and MariaDB, and the job is "
            f"between others ({systems}); leave them out"
        )
    found = []
    for store in asked:
        own = lag.max if lag is not None and not lag.connections else None
        if own is not None or threads is not None:
            found.append(Limit(store, own, threads))
    if lag is not None:
        found += [Limit(open_store(name), lag.max, replica=True) for name in lag.connections]
    return tuple(found)
