"""Documents: what jobs that read them may say, and how two whole ones differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.documents import escaped
from dsp_airflow.config.jobs import TableJob, WarmJob
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.model import KeyRange
from dsp_airflow.engine.ports import Endpoint

SYSTEM: Final = "mongodb"
DOCUMENT: Final = "bson document"
"""Identity of the type whose values are documents."""
FILE: Final = "gridfs file"
CONTENT: Final = "gridfs content"
"""And of the two that make a file of a bucket: its document, and its chunks."""
EXACT: Final = "$dsp_bson"
"""In the text of an id: its type and bytes, where extended JSON has no words for it."""
NAMED: Final = 20
"""Parts of one document or content that a report names."""
PARTED: Final = frozenset({DOCUMENT, FILE, CONTENT})
"""Identities of types whose texts are lists of parts, each a name and a text."""
KEY: Final = "_id"
BYTES: Final = "bson"
ANY_ORDER: Final = "bson in any order"
"""How whole documents are compared: as the bytes that they are, or whatever the order of fields."""


def refuse_unfit(job: TableJob, source: Endpoint, target: str) -> None:
    """``ConfigError`` for what has no meaning between the two; ``target`` is a system."""
    why = ""
    if isinstance(job, WarmJob) and job.gridfs and {source.system, target} != {SYSTEM}:
        why = f"from {source.system} to {target}: gridfs is for MongoDB at both ends"
    elif _in_any_order(job) and {source.system, target} != {SYSTEM}:
        why = f"from {source.system} to {target}: field_order: ignore is for MongoDB at both ends"
    elif isinstance(job, S3Job) and job.gridfs and source.system != SYSTEM:
        why = f"gridfs is for buckets of MongoDB, and {source.system} has none; leave it out"
    elif source.system == SYSTEM:
        why = _no_documents(job)
    elif isinstance(job.where, Mapping):
        why = f"where is a query document, and {source.system} takes a condition of SQL"
    if why:
        raise ConfigError(f"job {job.name}: {why}")


def method(job: TableJob) -> str:
    """How whole documents of the job are compared."""
    return ANY_ORDER if _in_any_order(job) else BYTES


def _in_any_order(job: TableJob) -> bool:
    return isinstance(job, WarmJob) and job.field_order == "ignore"


def _no_documents(job: TableJob) -> str:
    """Why a job cannot read documents so."""
    if isinstance(job.where, str):
        return "where is a condition of SQL; MongoDB takes a query document: {status: done}"
    if job.key not in {(), (KEY,)}:
        return f"key: documents are told apart by {KEY}, not by {', '.join(job.key)}; remove it"
    return ""


def way_back(where: str | None, ranges: Sequence[KeyRange]) -> dict[str, Any] | None:
    """The query of the documents in these ranges of ids that match a condition, too.

    The condition is extended JSON, as somebody writes it who asks for the rows.
    """
    parts: list[Any] = []
    if where is not None:
        try:
            given = json.loads(where)
        except ValueError as error:
            raise ConfigError(
                f"where is no JSON: {error}; write {{status: done}} as JSON"
            ) from error
        if not isinstance(given, dict):
            raise ConfigError('where must be a query document, such as {"status": "done"}')
        parts.append(given)
    within = [_in_range(one) for one in _joined(ranges)]
    if within and all(within):
        parts.append({"$or": within})
    found: dict[str, Any] = escaped({"$and": parts})
    return found if parts else None


def _joined(ranges: Sequence[KeyRange]) -> list[KeyRange]:
    """The same with as few as can be."""
    found: list[KeyRange] = []
    for within in ranges:
        if found and found[-1].upto == within.after:
            found[-1] = KeyRange(found[-1].after, within.upto)
        else:
            found.append(within)
    return found


def _in_range(within: KeyRange) -> dict[str, Any]:
    """``after < _id <= upto``, across types; nothing where no bound is."""
    bounds = [
        {sign: [f"${KEY}", {"$literal": json.loads(key[0])}]}
        for sign, key in (("$gt", within.after), ("$lte", within.upto))
        if key is not None
    ]
    if any(EXACT in str(bound) for bound in bounds):
        raise Refused(
            "a batch begins or ends with an _id that JSON cannot say; leave --batches out"
        )
    return {"$expr": {"$and": bounds}} if bounds else {}


def differing(mine: str, other: str) -> list[tuple[str, str | None, str | None]]:
    """Names of the fields at the top that differ, with the texts of their values on both sides.

    A document's text is the list of its fields, each a name and the text of its value; the text
    of a file's content that of its chunks.
    """
    ours, theirs = _by_name(mine), _by_name(other)
    names = [*ours, *(name for name in theirs if name not in ours)]
    found: list[tuple[str, str | None, str | None]] = [
        (name, ours.get(name), theirs.get(name))
        for name in names
        if ours.get(name) != theirs.get(name)
    ]
    if len(found) > NAMED:
        found = [*found[:NAMED], (f"and {len(found) - NAMED:,} more", None, None)]
    return found or [("the order of fields", " ".join(ours), " ".join(theirs))]


def _by_name(document: str) -> dict[str, str]:
    """The texts of a field's values; a name may stand there several times."""
    found: dict[str, str] = {}
    for name, text in json.loads(document):
        # A name that is no UTF-8 is told by its bytes.
        shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        found[shown] = f"{found[shown]}, {text}" if shown in found else text
    return found
