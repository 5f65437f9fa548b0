"""The receipts object of a run against what else is known of its batches."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from dsp_airflow.engine.archive.manifest import RECEIPTS_KIND, Manifest, receipt_of
from dsp_airflow.engine.errors import Mismatch

Entries = Mapping[int, Mapping[str, Any]]
"""By batch."""


def entries_of(data: bytes, run: str) -> Entries:
    """What the object says of each batch; ``Mismatch`` when it is none of this run."""
    try:
        found = json.loads(data)
        if found["kind"] != RECEIPTS_KIND:
            raise Mismatch(f"is no object of {RECEIPTS_KIND}")
        if found["run"] != run:
            raise Mismatch(f"holds the receipts of run {found['run']}")
        entries = {int(each["batch"]): dict(each) for each in found["receipts"]}
        for each in entries.values():
            _ = [(o["key"], o["sha256"]) for o in each["objects"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Mismatch("was edited: it is no list of receipts") from error
    return entries


def contradictions(
    told: Entries | None,
    manifest: Manifest,
    recorded: bytes | None,
    settled: Collection[int],
    source: str,
) -> Iterator[str]:
    """In words, batch by batch. Of ``settled`` ones it is known which side is wrong.

    ``recorded``: the object as the state database would have it written, once it is complete.
    """
    if told is None:
        # There is none yet, or it was found to be missing or nonsense.
        return
    known: Entries = {batch.number: receipt_of(batch) for batch in manifest.batches}
    if recorded is not None:
        known = entries_of(recorded, manifest.run)
        for number in sorted(known.keys() - told.keys()):
            yield f"has no receipt of batch {number}, which was read back"
    for number, entry in sorted(told.items()):
        mine = known.get(number)
        if number in settled:
            continue
        if mine is None:
            yield f"has a receipt of batch {number}, of which {source} knows none"
            continue
        fields = [name for name in mine if entry.get(name) != mine[name]]
        if fields:
            yield f"contradicts {source} about batch {number}: {', '.join(fields)}"
