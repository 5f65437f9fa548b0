"""Grants and administrators in the state database."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.role_deletion import delete_role
from dsp_airflow.config.processes import Process
from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Refused
from dsp_airflow.permissions import administrators
from dsp_airflow.permissions.grants import Holder, Needed, Scope
from dsp_airflow.permissions.people import Person, everybody, people
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.tables import KNOWN_USERS

SHOP = Scope("shop_pg")
ORDERS = Scope("shop_pg", "public", "orders")


@pytest.fixture(params=["sqlite", "pg15"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The statements are the same on every PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'dsp.db'}"
    url: str = request.getfixturevalue("pg15_db").sqlalchemy_url
    return url


def known(state: StateDatabase) -> frozenset[str]:
    with state.read() as connection:
        return administrators.administrators(connection)


def test_who_gives_what_to_whom(state: StateDatabase) -> None:
    grants, roles = Grants(state), Roles(state)
    with pytest.raises(Denied, match="nobody may yet"):
        grants.add(Holder("anna"), SHOP, ["administer"], "anna")
    roles.add("administrators", "root", "root")
    roles.add("owners", "olga", "root")
    made = grants.add(Holder("owners", is_role=True), ORDERS, ["read", "write"], "root")
    again = grants.add(Holder("owners", is_role=True), ORDERS, ["write", "read"], "root")
    assert again == made == grants.get(made.id)
    assert grants.may("olga", "write", Needed(ORDERS))
    assert not grants.may("olga", "purge", Needed(ORDERS))
    assert not grants.may("olga", "write", Needed(Scope("shop_pg", "public")))
    assert not grants.may("owners", "write", Needed(ORDERS)), "a user of the role's name"
    assert grants.may("root", "purge", Needed(SHOP)), "an administrator"
    roles.remove("owners", "olga", "root")
    assert not grants.may("olga", "write", Needed(ORDERS))

    with pytest.raises(
        Denied, match=r"may not change grants on connection shop_pg; who may: root$"
    ):
        grants.add(Holder("eva"), SHOP, ["read"], "olga")
    soon = state.now() + timedelta(hours=1)
    mine = grants.add(
        Holder("olga"), Scope("shop_pg", "public"), ["administer"], "root", until=soon
    )
    assert not grants.may("olga", "read", Needed(ORDERS)), "administering is not reading"
    grants.add(Holder("eva"), ORDERS, ["purge"], "olga", until=soon)
    assert grants.may("eva", "purge", Needed(ORDERS))
    for scope, until, told in (
        (SHOP, soon, "may not change"),
        (Scope("shop_pg", "other", "t"), soon, "who may: root"),
        (ORDERS, None, "not as long"),
        (ORDERS, soon + timedelta(microseconds=1), "not as long"),
    ):
        with pytest.raises(Denied, match=told):
            grants.add(Holder("eva"), scope, ["read"], "olga", until=until)
    assert grants.who_gives(ORDERS) == {"olga", "root"}
    assert grants.who_gives(SHOP) == {"root"}
    with pytest.raises(Refused, match="over already"):
        grants.add(Holder("eva"), ORDERS, ["read"], "root", until=state.now())

    assert [one.holder.name for one in grants.all(privilege="purge")] == ["eva"]
    assert {one.id for one in grants.of("olga")} == {mine.id}
    assert grants.revoke(made.id, "olga") == made, "it is on what olga administers"
    assert grants.revoke(mine.id, "root") == mine
    with pytest.raises(Denied):
        grants.revoke(grants.all()[0].id, "olga")
    with pytest.raises(ConfigError, match="dsp grant list"):
        grants.revoke(made.id, "root")
    found = audit.recent(state, Wanted(actions=["grant"]), 10)
    records = [(one.actor, one.action) for one in found]
    assert records == [
        ("root", "grant.revoke"),
        ("olga", "grant.revoke"),
        ("olga", "grant.add"),
        ("root", "grant.add"),
        ("root", "grant.add"),
    ]
    assert audit.verify(state) == []


def test_a_role_that_is_deleted_takes_its_grants_along(state: StateDatabase) -> None:
    roles, grants = Roles(state, founding=False), Grants(state)
    Roles(state).add("administrators", "root", "root")
    for role, user in (("owners", "olga"), ("owners", "otto"), ("readers", "olga")):
        roles.add(role, user, "root")
    for holder in (Holder("owners", is_role=True), Holder("owners"), Holder("olga")):
        grants.add(holder, ORDERS, ["read"], "root")
    processes = Processes(state)
    asking = {"name": "Asks", "task_type": "warm", "levels": [{"nodes": [{"role": "readers"}]}]}
    processes.create(Process.model_validate(asking), "root")
    with pytest.raises(Denied):
        delete_role(roles, processes, "owners", "olga")
    for role, told in (("administrators", "always there"), ("readers", "process Asks asks")):
        with pytest.raises(Refused, match=told):
            delete_role(roles, processes, role, "root")
    with state.read() as connection:
        assert people(connection, everybody(connection, "O")) == [
            Person("olga", False, ("owners", "readers"), 1),
            Person("otto", False, ("owners",), 0),
            Person("owners", False, (), 1),
            Person("root", True, ("administrators",), 0),
        ]
    assert delete_role(roles, processes, "owners", "root") == 3
    assert [one.holder for one in grants.all()] == [Holder("olga"), Holder("owners")]
    assert roles.all() == {"administrators": {"root"}, "readers": {"olga"}}
    assert delete_role(roles, processes, "owners", "root") == 0
    recorded = audit.recent(state, Wanted(names="owners"), 9)
    assert [(one.action, one.object.partition(" ")[0]) for one in recorded][:2] == [
        ("role.delete", "role"),
        ("grant.revoke", "grant"),
    ]
    assert recorded[0].before == {"members": ["olga", "otto"]}
    assert {one.action for one in audit.recent(state, Wanted(actions=["role"]), 99)} == {
        "role.add",
        "role.delete",
    }
    # A part of a name is another name.
    assert audit.recent(state, Wanted(names="owner"), 9) == []


def test_a_grant_ends_with_its_time(state: StateDatabase) -> None:
    grants = Grants(state)
    Roles(state).add("administrators", "root", "root")
    until = state.now() + timedelta(seconds=0.3)
    grants.add(Holder("eva"), ORDERS, ["read"], "root", until=until)
    while state.now() < until:
        pass
    assert not grants.may("eva", "read", Needed(ORDERS))
    assert grants.all() == [] == grants.of("eva")
    assert len(grants.all(over=True, holder="eva", connection="shop_pg")) == 1


def test_who_is_an_administrator(state: StateDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "admin:admin")
    assert known(state) == frozenset(), "as Airflow writes it into every new configuration"
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    administrators.saw(state, "Anonymous", administrator=True)
    assert known(state) == frozenset()
    monkeypatch.delenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS")
    monkeypatch.setenv("AIRFLOW__DSP__ADMINISTRATORS", "anna, otto")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "eva:viewer,adam:admin")
    assert known(state) == {"anna", "otto", "adam"}
    assert Roles(state).members("administrators") == {"anna", "otto", "adam"}
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "airflow.providers.fab.FabAuthManager")
    assert known(state) == {"anna", "otto"}, "nobody logs in by that list"
    monkeypatch.delenv("AIRFLOW__CORE__AUTH_MANAGER")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "adam")
    with pytest.raises(ConfigError, match="entries are user:role"):
        known(state)
    monkeypatch.delenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS")
    monkeypatch.delenv("AIRFLOW__DSP__ADMINISTRATORS")

    def count() -> int:
        head = audit.head(state)
        assert head is not None
        return head.seq

    administrators.saw(state, "vera", administrator=False)
    assert count() == 0, "of others nothing is kept"
    administrators.saw(state, "fabia", administrator=True)
    administrators.saw(state, "fabia", administrator=True)
    assert (set(known(state)), count()) == ({"fabia"}, 1)
    old = state.now() - administrators.SEEN_HOLDS - timedelta(minutes=1)
    with state.write() as connection:
        connection.execute(update(KNOWN_USERS).values(seen_at=old))
    assert known(state) == frozenset(), "what was seen long ago"
    administrators.saw(state, "fabia", administrator=True)
    assert (set(known(state)), count()) == ({"fabia"}, 1)
    with pytest.raises(Denied, match="administrators may: fabia"):
        Roles(state).add("owners", "olga", "olga")
    administrators.saw(state, "fabia", administrator=False)
    assert (known(state), count()) == (frozenset(), 2)
    with pytest.raises(Denied, match="nobody is administrator"):
        Roles(state, founding=False).add("owners", "olga", "olga")


def test_two_who_take_administration_from_each_other(state: StateDatabase) -> None:
    grants = Grants(state)
    Roles(state).add("administrators", "root", "root")
    pair = [grants.add(Holder(name), SHOP, ["administer"], "root") for name in ("anna", "olga")]
    ended = list[str]()

    def revoke(actor: str, grant: str) -> None:
        try:
            grants.revoke(grant, actor)
        except DspError as error:
            ended.append(type(error).__name__)
        else:
            ended.append("revoked")

    threads = [
        threading.Thread(target=revoke, args=one)
        for one in (("anna", pair[1].id), ("olga", pair[0].id))
    ]
    with state.write() as connection:
        audit.hold(connection)
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(ended) == ["Denied", "revoked"]
    assert audit.verify(state) == []
