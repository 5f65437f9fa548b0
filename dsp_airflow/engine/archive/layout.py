"""Names of the objects of an archive, below its prefix.

Names that begin with an underscore are none of the data: readers of whole folders skip them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from dsp_airflow.engine.archive.formats import extension
from dsp_airflow.engine.model import Archive

FILES: Final = "_files/"
NULL: Final = "__HIVE_DEFAULT_PARTITION__"


def owner_key(archive: Archive) -> str:
    """Which job the prefix belongs to."""
    return f"{archive.prefix}/_dsp.json"


def folder(archive: Archive) -> str:
    """Everything of the job lies below it."""
    return f"{archive.prefix}/"


def run_folder(archive: Archive, run: str) -> str:
    """Manifest and receipts of one run lie in it, and its data where there are no partitions."""
    return f"{archive.prefix}/{run_part(run)}"


def batch_key(archive: Archive, run: str, number: int, values: Sequence[str | None] = ()) -> str:
    """The rows of one batch; of a partitioned archive those of one partition, by its values."""
    ending = extension(archive.format, archive.compression)
    names = [partition.name for partition in archive.partitions]
    folders = [f"{name}={_value(text)}/" for name, text in zip(names, values, strict=True)]
    return f"{archive.prefix}/{''.join(folders)}{run_part(run)}batch={number}.{ending}"


def files_folder(archive: Archive, run: str) -> str:
    """The files of a bucket lie in it, each by its name."""
    return f"{run_folder(archive, run)}{FILES}"


def own_names(archive: Archive, run: str) -> re.Pattern[str]:
    """Full names of what lies where this run's data do; ``name`` is the last part.

    Another job's folder may lie below this one's, with data of a run of the same id.
    """
    folders = "".join(f"{re.escape(p.name)}=[^/]*/" for p in archive.partitions)
    return re.compile(
        f"{re.escape(folder(archive))}{folders}{re.escape(run_part(run))}(?P<name>[^/]+)"
    )


def run_part(run: str) -> str:
    """What the names of all data of one run hold, whatever their partition."""
    return f"run={run}/"


def _value(text: str | None) -> str:
    """As Hive writes values into paths, and readers of partitions take them apart."""
    if text is None:
        return NULL
    # Read back it is the same text, and no folder of both.
    return quote(text, safe="") if text != NULL else f"%5F{NULL[1:]}"


def manifest_key(archive: Archive, run: str) -> str:
    """Written when every batch is there."""
    return f"{run_folder(archive, run)}_manifest.json"


def receipts_key(archive: Archive, run: str) -> str:
    """What was read back, and found to be right."""
    return f"{run_folder(archive, run)}_receipts.json"
