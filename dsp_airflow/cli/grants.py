"""``dsp grant``: who may do what to which connection, schema, table or prefix."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import actor, send_mails
from dsp_airflow.cli.surroundings import log_to_stderr
from dsp_airflow.engine.errors import ConfigError, Denied

if TYPE_CHECKING:
    from dsp_airflow.permissions.grants import Grant, Scope
    from dsp_airflow.state.database import StateDatabase


def scope_of(
    connection: str, container: str | None, table: str | None, prefix: str | None
) -> Scope:
    """What the options name."""
    from dsp_airflow.permissions.grants import Scope, check_scope

    if table is not None and prefix is not None:
        raise ConfigError("give --table or --prefix, not both")
    item = table if prefix is None else prefix
    return check_scope(Scope(connection, container, item, is_path=prefix is not None))


def add(
    holder: str,
    scope: Scope,
    privileges: Sequence[str],
    *,
    is_role: bool,
    until: str | None,
    as_json: bool,
) -> None:
    """Gives a grant; repeated, it finds it there."""
    output.stdout()
    log_to_stderr()
    from dsp_airflow.permissions.grants import Holder
    from dsp_airflow.permissions.store import Grants
    from dsp_airflow.state.database import open_state

    who = actor()
    with open_state(create=True) as database:
        made = Grants(database).add(
            Holder(holder, is_role), scope, privileges, who, until=moment(database, until)
        )
    if as_json:
        output.write_json(document(made))
    else:
        output.write(f"grant {made.id}: {told(made)}")
    _note_off()


def list_grants(
    holder: str | None,
    connection: str | None,
    privilege: str | None,
    *,
    over: bool,
    as_json: bool,
) -> None:
    """Those that fit."""
    output.stdout()
    log_to_stderr()
    from dsp_airflow.permissions.grants import check_privileges
    from dsp_airflow.permissions.store import Grants
    from dsp_airflow.state.database import open_state

    wanted = None if privilege is None else next(iter(check_privileges([privilege])))
    with open_state(create=True) as database:
        found = Grants(database).all(
            holder=holder, connection=connection, privilege=wanted, over=over
        )
    if as_json:
        output.write_json({"grants": [document(one) for one in found]})
        return
    if not found:
        output.write("no grants")
    else:
        rows = [
            (
                one.id,
                one.holder,
                ", ".join(sorted(one.privileges)),
                one.scope.connection,
                one.scope.container or "all",
                one.scope.item or "all",
                one.until or "revoked",
                one.granted_by,
            )
            for one in found
        ]
        heads = ("id", "to", "may", "connection", "in", "table or prefix", "until (UTC)", "by")
        output.console().print(output.table("", heads, rows))
    _note_off()


def revoke(ids: Sequence[str]) -> None:
    """One after the other."""
    output.stdout()
    log_to_stderr()
    from dsp_airflow.permissions.store import Grants
    from dsp_airflow.state.database import open_state

    who = actor()
    with open_state(create=True) as database:
        for one in ids:
            output.write(f"revoked: {told(Grants(database).revoke(one, who))}")


def check(user: str, scope: Scope, privileges: Sequence[str], *, as_json: bool) -> None:
    """Each privilege apart; ``Denied`` when one is missing."""
    output.stdout()
    log_to_stderr()
    from dsp_airflow.permissions.grants import PRIVILEGES, Needed, check_privileges
    from dsp_airflow.permissions.store import Grants
    from dsp_airflow.state.database import open_state

    known = check_privileges(privileges)
    with open_state(create=True) as database:
        grants = Grants(database)
        found = {one: grants.may(user, one, Needed(scope)) for one in PRIVILEGES if one in known}
        givers = sorted(grants.who_gives(scope))
    if as_json:
        output.write_json({"user": user, "may": found, "who_gives": givers})
    else:
        for one, may in found.items():
            output.write(f"{user} {'may' if may else 'may not'} {one} {scope}")
    _note_off()
    missing = [one for one, may in found.items() if not may]
    if missing:
        who = f"{', '.join(givers)} can give it" if givers else "nobody is administrator"
        raise Denied(f"{user} has no grant to {', '.join(missing)} {scope}; {who}")


def request(
    scope: Scope, privileges: Sequence[str], *, until: str | None, reason: str, as_json: bool
) -> None:
    """Applies for a grant; repeated, it finds the application unless its end is another one."""
    output.stdout()
    log_to_stderr()
    from dsp_airflow.approval.permission import key_of, subject_of
    from dsp_airflow.approval.requests import Requests
    from dsp_airflow.state.database import open_state

    who = actor()
    with open_state(create=True) as database:
        requests = Requests(database)
        subject = subject_of(who, scope, privileges, moment(database, until), reason)
        found = requests.ask(key_of(who, scope, privileges), subject, who)
        send_mails(requests)
        members = sorted(requests.members(found))
    if as_json:
        output.write_json({"request": found.id, "state": str(found.state), "waits_for": members})
        return
    waits = f"; it waits for {', '.join(members) or 'nobody now'}" if found.waits_for else ""
    output.write(f"request {found.id}: {found.title}: {found.state}{waits}")


def moment(database: StateDatabase, until: str | None) -> datetime | None:
    """A time to come, as it was given."""
    from dsp_airflow.config.scalars import parse_duration

    if until is None:
        return None
    try:
        found = datetime.fromisoformat(until)
    except ValueError:
        try:
            return database.now() + parse_duration(until)
        except (ValueError, OverflowError) as error:
            raise ConfigError(
                f"--until {until!r} is neither a time such as 2026-12-01T08:00 nor a while such "
                "as 30d"
            ) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def told(grant: Grant) -> str:
    """A grant in a line."""
    until = f" until {grant.until:%Y-%m-%d %H:%M} UTC" if grant.until else ""
    return f"{grant.holder} may {', '.join(sorted(grant.privileges))} {grant.scope}{until}"


def document(grant: Grant) -> dict[str, Any]:
    """A grant for ``--json``."""
    from dsp_airflow.permissions.store import grant_values

    return {
        "id": grant.id,
        **grant_values(grant),
        "granted_by": grant.granted_by,
        "granted_at": grant.granted_at,
    }


def _note_off() -> None:
    from dsp_airflow.permissions import settings

    if not settings.enforced():
        output.note(settings.NOT_ENFORCED)
