"""Whose folder a prefix is: one job's, told by an object that its first run leaves there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from dsp_airflow.engine.archive import layout
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Archive
from dsp_airflow.engine.stores.s3 import Bucket, Conflict, Gone


@dataclass(frozen=True, slots=True)
class Owner:
    """The job that writes below a prefix."""

    task: str
    job: str
    table: str


def owner_of(bucket: Bucket, archive: Archive) -> Owner | None:
    """Who the folder says that it belongs to; ``None`` when it does not (or says nonsense)."""
    try:
        found = json.loads(bucket.read(layout.owner_key(archive)))
        return Owner(str(found["task"]), str(found["job"]), str(found["table"]))
    except (Gone, ValueError, KeyError, TypeError):
        return None


def require_own(bucket: Bucket, archive: Archive, mine: Owner) -> bool:
    """Whether the folder is this job's already; ``ConfigError`` when it is another one's."""
    key = layout.owner_key(archive)
    try:
        found = json.loads(bucket.read(key))
    except Gone:
        return False
    except ValueError:
        found = None
    told = asdict(mine)
    if not isinstance(found, dict) or any(found.get(name) != told[name] for name in told):
        who = found if isinstance(found, dict) else {}
        raise ConfigError(
            f"{bucket.label(archive.prefix)} is the folder of job {who.get('job', '?')} of task "
            f"{who.get('task', '?')} on {who.get('table', '?')} (says {key}); give job {mine.job} "
            "another prefix"
        )
    return True


def take(bucket: Bucket, archive: Archive, mine: Owner) -> None:
    """Marks the folder as this job's; of two jobs that come at once one is refused."""
    if require_own(bucket, archive, mine):
        return
    body = json.dumps(asdict(mine), sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    try:
        bucket.put(layout.owner_key(archive), body.encode())
    except Conflict:
        require_own(bucket, archive, mine)
