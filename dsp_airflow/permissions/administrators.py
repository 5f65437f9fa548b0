"""Who is an administrator: one answer for the command line, the API server and the workers.

Four sources count, and nothing else does: the role ``administrators`` in the state database,
``[dsp] administrators``, the users that ``[core] simple_auth_manager_users`` was set to give the
role ADMIN, and those whom the API server has lately seen to be administrators by Airflow's auth
manager, whichever that is. What a source does not say, or what cannot be read, makes nobody one.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, insert, select, update

from dsp_airflow.config.processes import ADMINISTRATORS
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.state import audit
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.settings import setting, variable
from dsp_airflow.state.tables import KNOWN_USERS, ROLE_MEMBERS

SEEN_HOLDS = timedelta(days=7)
"""How long an administrator counts whom the API server does not see again."""
_NOTED_EVERY = timedelta(hours=1)
_SIMPLE = "SimpleAuthManager"
_BUILT_IN = "admin:admin"
_NO = ("", "false", "f", "0")


def administrators(connection: Connection) -> frozenset[str]:
    """Everybody who is one now, by name."""
    since = clock(connection) - SEEN_HOLDS
    members = select(ROLE_MEMBERS.c.user).where(ROLE_MEMBERS.c.role == ADMINISTRATORS)
    seen = select(KNOWN_USERS.c.name).where(
        KNOWN_USERS.c.administrator.is_(True), KNOWN_USERS.c.seen_at > since
    )
    return frozenset(
        {
            *connection.execute(members).scalars(),
            *connection.execute(seen).scalars(),
            *configured(),
            *simple(),
        }
    )


def is_administrator(connection: Connection, user: str) -> bool:
    """Whether the user is one now."""
    return user in administrators(connection)


def configured() -> frozenset[str]:
    """Those whom ``[dsp] administrators`` names: ``anna, otto``."""
    return frozenset(filter(None, map(str.strip, (setting("administrators") or "").split(","))))


def simple() -> frozenset[str]:
    """Those whom Airflow's simple auth manager was configured to give the role ADMIN.

    What Airflow writes there by itself is not somebody's word, and
    ``simple_auth_manager_all_admins`` makes nobody one here.
    """
    if not _simple_is_used():
        return frozenset()
    text = setting("simple_auth_manager_users", "core") or ""
    found = set()
    for entry in [] if text.strip() == _BUILT_IN else text.split(","):
        if not entry.strip():
            continue
        name, colon, role = (part.strip() for part in entry.rpartition(":"))
        if not (name and colon and role):
            raise ConfigError(
                f"{variable('simple_auth_manager_users', 'core')} has {entry.strip()!r}; entries "
                "are user:role, such as anna:admin"
            )
        if role.upper() == "ADMIN":
            found.add(name)
    return frozenset(found)


def saw(database: StateDatabase, user: str, *, administrator: bool) -> None:
    """The API server has seen the user log in, and what the auth manager says of them.

    Cheap to call with every request: it writes when that changes, and once an hour. Where
    Airflow asks for no login and takes everybody for one, nobody is.
    """
    administrator = administrator and not _everybody()
    query = select(KNOWN_USERS).where(KNOWN_USERS.c.name == user)
    with database.read() as connection:
        found = connection.execute(query).one_or_none()
        fresh = found is not None and found.seen_at > clock(connection) - _NOTED_EVERY
    known = found is not None and found.administrator
    if known == administrator and (fresh or not administrator):
        return
    with database.write() as connection:
        audit.hold(connection)
        found = connection.execute(query).one_or_none()
        now = clock(connection)
        values = {"administrator": administrator, "seen_at": now}
        if found is None:
            connection.execute(insert(KNOWN_USERS).values(name=user, **values))
        else:
            connection.execute(
                update(KNOWN_USERS).where(KNOWN_USERS.c.name == user).values(**values)
            )
        before = found is not None and found.administrator
        if before != administrator:
            audit.record(
                connection,
                actor=user,
                action="administrator.seen",
                object=f"user {user}",
                before={"administrator": before},
                after={"administrator": administrator},
            )


def _everybody() -> bool:
    """Whether Airflow is set to ask for no login; a word that it does not know is taken for yes."""
    text = setting("simple_auth_manager_all_admins", "core") or ""
    return _simple_is_used() and text.strip().lower() not in _NO


def _simple_is_used() -> bool:
    manager = setting("auth_manager", "core")
    return manager is None or manager.rpartition(".")[2] == _SIMPLE
