"""`dsp grant`; and the commands that need grants."""

from __future__ import annotations

import getpass

import pytest

from dsp_airflow.approval.people import Roles
from dsp_airflow.permissions.settings import NOT_ENFORCED
from dsp_airflow.state.database import open_state
from tests.cli.harness import Done, Dsp, job

LOGIN = getpass.getuser()


class As:
    """The command by somebody, with grants enforced."""

    def __init__(self, dsp: Dsp, user: str, **settings: str) -> None:
        self.dsp = dsp
        self.env = {
            "AIRFLOW__DSP__ENFORCE_GRANTS": "True",
            "AIRFLOW__DSP__CLI_USERS": f"nobody=root, {LOGIN}={user}",
            **settings,
        }

    def __call__(self, *arguments: object) -> Done:
        return self.dsp(*arguments, env=self.env)


@pytest.fixture
def root(dsp: Dsp) -> As:
    with open_state(f"sqlite:///{dsp.state}", create=True) as state:
        Roles(state).add("administrators", "root", "test")
    return As(dsp, "root")


def test_from_an_application_to_a_purge(dsp: Dsp, root: As) -> None:
    eva = As(dsp, "eva")
    dsp.fill(100)
    file = dsp.write(job(purge="manual"), owner="data")
    for command in (("run", file, "--json"), ("plan", file, "--json")):
        refused = eva(*command)
        assert (refused.code, "has no grant to read connection source" in refused.err) == (4, True)
    assert "data (owner of task task) has no grant to write" in eva("run", file, "--new").err
    assert dsp.target.value("SELECT to_regclass('public.t') IS NULL")

    # Who can give it and how is said by the failure; others apply for it.
    assert eva("grant", "add", "data", "source", "read").code == 4
    made = root("grant", "add", "data", "source", "read", "--until", "30d", "--json").document
    assert (made["holder"], made["privileges"]) == ("data", ["read"])
    assert root("grant", "add", "data", "target", "write", "--schema", "public").code == 0
    asked = ("grant", "request", "source", "read", "--until", "2030-01-01", "--reason", "to look")
    first = eva(*asked, "--json").document
    assert (first["state"], first["waits_for"]) == ("APPROVING", ["root"])
    assert eva(*asked, "--json").document == first
    shown = eva("requests", "show", first["request"])
    assert "to look" in shown.out
    assert "eva applies to read connection source until 2030-01-01" in shown.out
    assert eva("approve", first["request"]).code == 4
    assert root("approve", first["request"]).code == 0
    assert eva("grant", "check", "eva", "source", "read").code == 0
    denied = eva("grant", "check", "eva", "target", "read", "write", "--json")
    assert denied.document["may"] == {"read": False, "write": False}
    assert (denied.code, denied.document["who_gives"]) == (4, ["root"])
    given = root("grant", "add", "eva", "target", "read", "--table", "t", "--schema", "public")
    assert "eva may read connection target public t" in given.out
    done = eva("run", file, "--new", "--json")
    assert (done.code, done.job["rows_written"]) == (0, 100)

    refused = eva("purge", file, "--batches", "all", "--yes")
    assert "data (owner of task task) has no grant to purge" in refused.err
    assert "eva (who asked for this) has no grant to purge" in refused.err
    for user in ("data", "eva"):
        assert root("grant", "add", user, "source", "purge").code == 0
    assert eva("purge", file, "--batches", "all", "--yes").code == 0
    assert dsp.source.value("SELECT count(*) FROM t") == 0
    assert eva("check", file).code == 0
    otto = As(dsp, "otto")
    refused = otto("check", file)
    assert "otto (who asked for this) has no grant to read" in refused.err

    listed = eva("grant", "list", "--holder", "eva", "--json").document["grants"]
    assert {one["connection"] for one in listed} == {"source", "target"}
    assert "no grants" in eva("grant", "list", "--privilege", "approve").out
    purges = eva("grant", "list", "--privilege", "purge", "--json").document["grants"]
    for one in purges:
        assert root("grant", "revoke", one["id"]).code == 0
    assert root("grant", "revoke", purges[0]["id"]).code == 2
    actions = ("grant.add", "grant.revoke", "run.start", "run.finish", "purge.begin")
    text = root("audit", "export", "-", "--action", "grant").out
    assert text.count("\n") == 8
    for action in actions:
        assert root("audit", "list", "--action", action, "--json").document["records"], action
    assert root("audit", "verify").code == 0


def test_what_is_no_grant_and_what_is_said_while_they_are_not_enforced(dsp: Dsp, root: As) -> None:
    for arguments, told in (
        (("source", "drop"), "'drop' is not one of"),
        (("source", "read", "--table", "t"), "needs its schema"),
        (("source", "read", "--bucket", "b", "--prefix", "/a"), "is no prefix"),
        (("source", "read", "--until", "soon"), "neither a time"),
        (("source", "read", "--bucket", "b", "--table", "t", "--prefix", "a"), "not both"),
    ):
        refused = root("grant", "add", "eva", *arguments)
        assert (refused.code, told in refused.err) == (2, True), refused.err
    assert root("grant", "add", "eva", "source", "read", "--until", "2020-01-01").code == 4
    dsp.fill(10)
    file = dsp.write(job())
    assert "task task has no owner" in root("run", file).err
    off = As(dsp, "eva", AIRFLOW__DSP__ENFORCE_GRANTS="False")
    for command in (("run", file, "--new"), ("check", file), ("grant", "list")):
        done = off(*command)
        assert (done.code, NOT_ENFORCED in done.err) == (0, True), command
    assert NOT_ENFORCED not in off("run", file, "--new", "--quiet").err
