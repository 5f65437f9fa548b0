"""What grants cover, against an evaluation that spells out every object there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.permissions.grants import (
    PRIVILEGES,
    Grant,
    Holder,
    Needed,
    Scope,
    allows,
    check_privileges,
    check_scope,
    covers,
)

NOW = datetime(2026, 12, 1, tzinfo=UTC)
CONNECTIONS, CONTAINERS = ("pg", "Pg"), ("public", "Public", "a")
TABLES = ("t", "T", "a", "a/b")
PATHS = ("a", "a/b", "a/bc", "a/b/c", "ab", "t")
WHOLE = [Scope(c) for c in CONNECTIONS]
IN = [Scope(c, n) for c in CONNECTIONS for n in CONTAINERS]
ITEMS = [
    Scope(s.connection, s.container, name, path)
    for s in IN
    for path, names in ((False, TABLES), (True, PATHS))
    for name in names
]
scopes = st.sampled_from([*WHOLE, *IN, *ITEMS])


def objects(needed: Needed) -> set[Scope]:
    """All single tables and keys that somebody could touch who may touch this much."""
    scope = needed.scope
    found = set()
    for one in ITEMS:
        if one.connection != scope.connection:
            continue
        if scope.container is not None and one.container != scope.container:
            continue
        if scope.item is not None:
            if one.is_path != scope.is_path:
                continue
            steps = (one.item or "").split("/")
            wanted = scope.item.split("/")
            under = steps[: len(wanted)] == wanted
            if not (under if scope.is_path else one.item == scope.item):
                continue
        found.add(one)
    return found


@given(scopes, scopes)
def test_a_scope_covers_what_holds_no_object_beyond_it(scope: Scope, wanted: Scope) -> None:
    inside = objects(Needed(wanted)) <= objects(Needed(scope))
    # A grant of all names is more than grants of all that there happen to be.
    same_depth = (scope.container is None or wanted.container is not None) and (
        scope.item is None or wanted.item is not None
    )
    assert covers(scope, Needed(wanted)) == (inside and same_depth)


@given(
    st.lists(
        st.builds(
            lambda holder, is_role, scope, privileges, ends: Grant(
                "g",
                Holder(holder, is_role),
                scope,
                frozenset(privileges),
                "anna",
                NOW,
                None if ends is None else NOW + timedelta(seconds=ends),
            ),
            st.sampled_from(("anna", "olga")),
            st.booleans(),
            scopes,
            st.sets(st.sampled_from(PRIVILEGES), min_size=1),
            st.sampled_from((None, -1, 0, 1)),
        ),
        max_size=6,
    ),
    st.sets(st.sampled_from(("anna", "olga"))),
    st.sampled_from(PRIVILEGES),
    scopes,
)
def test_grants_allow_what_one_of_them_says(
    grants: list[Grant], roles: set[str], privilege: str, wanted: Scope
) -> None:
    expected = False
    for one in grants:
        his = (one.holder.name in roles) if one.holder.is_role else one.holder.name == "anna"
        lasts = one.until is None or (one.until - NOW).total_seconds() > 0
        said = privilege in one.privileges
        expected = expected or (his and lasts and said and covers(one.scope, Needed(wanted)))
    found = allows(grants, "anna", roles, privilege, Needed(wanted), NOW)  # type: ignore[arg-type]
    assert found == expected
    without = [one for one in grants if one.holds(NOW)]
    assert allows(without, "anna", roles, privilege, Needed(wanted), NOW) == found  # type: ignore[arg-type]


def test_names_are_exact_and_folded_only_where_the_server_folds() -> None:
    granted = Scope("my", "Shop", "Orders")
    assert not covers(granted, Needed(Scope("my", "shop", "orders")))
    assert covers(granted, Needed(Scope("my", "shop", "orders"), folds=True))
    assert not covers(granted, Needed(Scope("MY", "shop", "orders"), folds=True))
    assert not covers(granted, Needed(Scope("my", "shop", "order"), folds=True))
    assert not covers(
        Scope("s3", "b", "A", is_path=True), Needed(Scope("s3", "b", "a", is_path=True), folds=True)
    )


def test_prefixes_end_at_folders_and_are_no_tables() -> None:
    granted = Scope("s3", "archive", "a/b", is_path=True)
    for item in ("a/b", "a/b/c"):
        assert covers(granted, Needed(Scope("s3", "archive", item, is_path=True)))
    for item in ("a", "a/bc", "A/b", "a/b."):
        assert not covers(granted, Needed(Scope("s3", "archive", item, is_path=True)))
    assert not covers(granted, Needed(Scope("s3", "archive")))
    assert not covers(granted, Needed(Scope("s3", "archive", "a/b")))
    assert not covers(Scope("s3", "archive", "a"), Needed(Scope("s3", "archive", "a/b", True)))


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        (Scope(""), "no name of a connection"),
        (Scope("a\nb"), "no name of a connection"),
        (Scope("pg", None, "t"), "needs its schema"),
        (Scope("pg", " "), "no name of a schema"),
        (Scope("s3", "b", "a//b", True), "is no prefix"),
        (Scope("s3", "b", "/a", True), "is no prefix"),
        (Scope("s3", "b", None, True), "is no prefix"),
    ],
)
def test_what_can_be_no_scope(scope: Scope, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_scope(scope)


def test_privileges_have_names() -> None:
    assert check_privileges(["purge", "read"]) == {"read", "purge"}
    for names, told in (([], "say what is granted"), (["read", "drop"], "'drop' is not one of")):
        with pytest.raises(ConfigError, match=told):
            check_privileges(names)
