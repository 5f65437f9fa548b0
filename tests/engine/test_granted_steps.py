"""No step touches data that its people have no grants for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from dsp_airflow.approval.people import Roles
from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.errors import Denied
from dsp_airflow.engine.stores.postgres import PostgresStore
from dsp_airflow.opening import latest_run, open_run
from dsp_airflow.permissions.checks import permit_of, require_reading
from dsp_airflow.permissions.grants import Holder, Scope
from dsp_airflow.permissions.needs import Act, Place
from dsp_airflow.permissions.store import Grants
from dsp_airflow.steps import TaskRun
from tests.engine.harness import Bench
from tests.servers import Database


class Guarded(Bench[Database]):
    """A bench on which grants are enforced, with ``root`` to give them."""

    owner = "olga"
    person: str | None = "eva"

    def __post_init__(self) -> None:
        super().__post_init__()
        Roles(self.state).add("administrators", "root", "root")

    def open(self, *, new: bool = False) -> TaskRun:
        run = open_run(self.state, load_task(self.file), self.file, self.store, new=new)
        run.permit = permit_of(self.state, self.owner, self.person)
        run.begin()
        return run

    def by_hand(self, act: Act) -> TaskRun:
        run = latest_run(self.state, load_task(self.file), self.store)
        run.permit = permit_of(self.state, self.owner, self.person, act)
        return run

    def grant(self, user: str, scope: Scope, *privileges: str, seconds: float = 0) -> str:
        until = self.state.now() + timedelta(seconds=seconds) if seconds else None
        grants = Grants(self.state)
        return grants.add(Holder(user), scope, privileges, "root", until=until).id

    def refused(self, *told: str) -> str:
        with pytest.raises(Denied) as denied:
            self.run(new=True)
        for part in told:
            assert part in str(denied.value)
        assert not self.target.value("SELECT to_regclass('public.t') IS NOT NULL")
        return str(denied.value)


@pytest.fixture
def bench(
    tmp_path: Path, pg15_db: Database, pg18_db: Database, monkeypatch: pytest.MonkeyPatch
) -> Guarded:
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_GRANTS", "True")
    pg15_db.execute("CREATE TABLE t AS SELECT n AS id FROM generate_series(1, 100) n")
    pg15_db.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
    return Guarded(tmp_path, pg15_db, pg18_db)


def test_owner_and_person_need_their_grants_before_anything_is_touched(bench: Guarded) -> None:
    bench.write(bench.job(purge="system", check={"percent": 100}))
    source, target = Scope("source", "public", "t"), Scope("target", "public", "t")
    told = bench.refused(
        "task task: nothing was touched: olga (owner of task task) has no grant to read connection "
        "source public t: root can give it: dsp grant add olga source read --schema public "
        "--table t",
        "olga (owner of task task) has no grant to write connection target public t",
        "olga (owner of task task) has no grant to purge connection source public t",
        "eva (who started this) has no grant to read connection target public t",
    )
    assert "eva (who started this) has no grant to write" not in told
    for scope, privilege in ((source, "read"), (target, "write")):
        bench.grant("olga", scope, privilege)
    bench.grant("eva", Scope("source"), "read")
    bench.grant("eva", Scope("target", "public"), "read")
    bench.grant("olga", Scope("source", "public", "T"), "purge")
    bench.grant("olga", Scope("source", "private"), "purge")
    told = bench.refused("olga (owner of task task) has no grant to purge")
    assert told.count("has no grant") == 1
    bench.grant("olga", source, "purge")
    run = bench.run(new=True)
    assert run.jobs[0].rows_purged == 100

    # A check by hand is of who asks; a purge by hand of both, of that job alone.
    bench.person = "otto"
    with pytest.raises(Denied, match=r"otto \(who asked for this\) has no grant to read"):
        bench.by_hand("look").check_again("copy")
    with pytest.raises(Denied, match=r"otto .* purge connection source public t"):
        bench.by_hand("purge").purge("copy")
    assert bench.by_hand("look").summary().jobs[0].state == "succeeded", "it stays as it was"
    for scope in (source, target):
        bench.grant("otto", scope, "read")
    bench.grant("otto", source, "purge")
    bench.by_hand("purge").purge("copy")
    with pytest.raises(Denied, match="nobody was said to answer"):
        bench.latest().purge("copy")
    bench.owner = ""
    with pytest.raises(Denied, match="task task has no owner"):
        bench.run(new=True)


def test_a_grant_that_ends_stops_the_run_at_its_next_step(bench: Guarded) -> None:
    bench.person = None
    bench.write(bench.job(purge="manual", check={"percent": 100}))
    bench.grant("olga", Scope("source"), "read")
    mine = bench.grant("olga", Scope("target"), "write")
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    Grants(bench.state).revoke(mine, "root")
    with pytest.raises(Denied, match="write connection target"):
        run.check("copy")
    assert run.summary().jobs[0].state == "failed"
    bench.grant("olga", Scope("target"), "write", seconds=0.2)
    end = bench.state.now() + timedelta(seconds=0.3)
    while bench.state.now() < end:
        pass
    with pytest.raises(Denied, match="write connection target"):
        run.check("copy")
    bench.grant("olga", Scope("target"), "write", seconds=60)
    assert run.check("copy").rows_different == 0
    with pytest.raises(Denied, match="purge connection source public t"):
        bench.by_hand("purge").purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 100


def test_every_name_that_a_run_may_give_is_covered(bench: Guarded) -> None:
    bench.person = None
    bench.grant("olga", Scope("source"), "read")
    bench.target.execute("CREATE SCHEMA other")

    def missing(table: str, **more: str) -> str:
        bench.write(bench.job(target={"table": table}, **more))
        with pytest.raises(Denied) as denied:
            bench.open(new=True).plan("copy")
        return str(denied.value).partition("write ")[2].partition(":")[0]

    assert missing('public."o d"') == "connection target public o d"
    assert missing("t") == "connection target public t"
    assert missing("public.t_{{ run_date:%Y }}") == "connection target public"
    assert missing("s_{{ run_date:%Y }}.t") == "connection target"
    assert missing("t_{{ run_date:%Y }}") == "connection target public"
    # The table may come to stand in either schema of the path.
    name = bench.target.uri.rpartition("/")[2].partition("?")[0]
    bench.target.execute(f'ALTER DATABASE "{name}" SET search_path = public, other')
    assert missing("t_{{ run_date:%Y }}") == "connection target"
    assert missing("t") == "connection target public t"
    bench.target.execute("CREATE TABLE other.t (id bigint PRIMARY KEY)")
    assert missing("t") == "connection target other t"
    bench.target.execute("CREATE TABLE public.t (id bigint PRIMARY KEY)")
    assert missing("t") == "connection target public t"
    bench.grant("olga", Scope("target", "public"), "write")
    bench.write(bench.job(target={"table": "public.t_{{ run_date:%Y }}"}))
    bench.open(new=True).plan("copy")
    bench.write(bench.job(target={"table": "public.t"}, mode="replace"))
    with pytest.raises(Denied, match="purge connection target public t"):
        bench.open(new=True).plan("copy")


def test_reading_places_of_no_job(bench: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("source", "t")
    with pytest.raises(Denied, match=r"reading: .* eva .* read connection source public t"):
        require_reading(bench.state, "eva", [place], bench.store)
    bench.grant("eva", Scope("source", "public", "t"), "read")
    require_reading(bench.state, "eva", [place], bench.store)
    require_reading(bench.state, "root", [place], bench.store)
    # What whole connections are granted needs no look into them.
    bench.grant("otto", Scope("source"), "read")

    def never(_: object) -> None:
        raise AssertionError("connected")

    with monkeypatch.context() as patched:
        patched.setattr(PostgresStore, "session", never)
        require_reading(bench.state, "otto", [place], bench.store)
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_GRANTS", "perhaps")
    with pytest.raises(Exception, match="must be true or false"):
        require_reading(bench.state, "eva", [place], bench.store)
