"""``dsp pools``: the pools of the connections that tasks use, as Airflow has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dsp_airflow import pools
from dsp_airflow.cli import output, scheduler
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.state.settings import airflow_home
from dsp_airflow.task_list import task_folder

DESCRIPTION = "Steps of DSP that work on the connection {connection}"


@dataclass(frozen=True, slots=True)
class PoolLine:
    """One pool. ``slots`` is ``None`` where Airflow does not have it, ``connection`` where no task
    needs it.
    """

    pool: str
    connection: str | None
    tasks: tuple[str, ...]
    slots: int | None
    wanted: int | None

    @property
    def state(self) -> str:
        """In words."""
        if self.slots is None:
            return "missing"
        if self.connection is None:
            return "not needed"
        return "" if self.slots == self.wanted else f"{self.wanted} by pool_size"


def list_pools(folder: Path | None, *, as_json: bool) -> None:
    """Every pool that tasks of the folder need, and those of this package that none needs."""
    output.stdout()
    lines = pool_lines(_needed(folder), _present(), pools.size())
    _say_whether_used()
    missing = [one.pool for one in lines if one.slots is None]
    if missing:
        output.note(
            f"Airflow begins no step of a pool that is not there: {', '.join(missing)}; "
            "dsp pools sync creates them",
            "WARN",
        )
    if as_json:
        shown = [{**asdict(one), "missing": one.slots is None} for one in lines]
        output.write_json({"used": pools.are_used(), "pools": shown})
        return
    if not lines:
        output.write("no pools")
        return
    heads = ("pool", "connection", "tasks", "slots", "")
    rows = [(one.pool, one.connection, len(one.tasks), one.slots, one.state) for one in lines]
    output.console().print(output.table("", heads, rows, right=heads[2:4]))


def sync(folder: Path | None) -> None:
    """Creates the pools that are missing, and gives the others their size."""
    output.stdout()
    needed, present, size = _needed(folder), _present(), pools.size()
    wrong = [
        one
        for one in pool_lines(needed, present, size)
        if one.connection is not None and one.slots != size
    ]
    if wrong:
        scheduler.set_pools(
            {
                one.pool: {
                    "description": DESCRIPTION.format(connection=one.connection),
                    # What somebody else decided of it stays.
                    **present.get(one.pool, {}),
                    "slots": size,
                }
                for one in wrong
            }
        )
    for one in wrong:
        was = "created" if one.slots is None else f"had {one.slots}"
        output.write(f"{one.pool}: {size} slots ({was})")
    output.write(f"{len(needed) - len(wrong)} of {len(needed)} pools were as they are to be")
    _say_whether_used()


def pool_lines(
    needed: Mapping[str, Sequence[str]], present: Mapping[str, scheduler.Pool], size: int
) -> list[PoolLine]:
    """The pools of connections, given with the tasks that use them, and those of none."""
    lines = []
    for connection, tasks in needed.items():
        name = pools.pool_of(connection)
        slots = present[name]["slots"] if name in present else None
        lines.append(PoolLine(name, connection, tuple(tasks), slots, size))
    known = {one.pool for one in lines}
    return lines + [
        PoolLine(name, None, (), pool["slots"], None)
        for name, pool in sorted(present.items())
        if name.startswith(pools.PREFIX) and name not in known
    ]


def _needed(folder: Path | None) -> Mapping[str, Sequence[str]]:
    from dsp_airflow.config import load_tasks

    found, failed = load_tasks(folder or task_folder())
    for problems in failed:
        output.note(f"not looked at: {problems}", "WARN")
    return pools.connections_of(task for _, task in found)


def _present() -> Mapping[str, scheduler.Pool]:
    if not scheduler.is_here():
        raise ConfigError(
            f"Airflow is not set up here (AIRFLOW_HOME is {airflow_home()}); its pools are known "
            "where its metadata database is, as on the machine of the scheduler"
        )
    return scheduler.pools()


def _say_whether_used() -> None:
    if not pools.are_used():
        output.note(
            "[dsp] pools is not set to connections: no step goes into these pools yet", "WARN"
        )
