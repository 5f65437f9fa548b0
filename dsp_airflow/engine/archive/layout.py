"""Names of the objects of an archive, below its prefix.

Names that begin with an underscore are none of the data: readers of whole folders skip them.
"""

from __future__ import annotations

from dsp_airflow.engine.archive.formats import extension
from dsp_airflow.engine.model import Archive


def owner_key(archive: Archive) -> str:
    """Which job the prefix belongs to."""
    return f"{archive.prefix}/_dsp.json"


def folder(archive: Archive) -> str:
    """Everything of the job lies below it."""
    return f"{archive.prefix}/"


def run_folder(archive: Archive, run: str) -> str:
    """Everything of one run lies below it."""
    return f"{archive.prefix}/run={run}/"


def batch_key(archive: Archive, run: str, number: int) -> str:
    """The rows of one batch."""
    ending = extension(archive.format, archive.compression)
    return f"{run_folder(archive, run)}batch={number}.{ending}"


def manifest_key(archive: Archive, run: str) -> str:
    """Written when every batch is there."""
    return f"{run_folder(archive, run)}_manifest.json"


def receipts_key(archive: Archive, run: str) -> str:
    """What was read back, and found to be right."""
    return f"{run_folder(archive, run)}_receipts.json"
