"""S3, and whatever speaks its API."""

from __future__ import annotations

from dsp_airflow.engine.stores.s3.bucket import About, Bucket, Listed, Stored, Unfinished
from dsp_airflow.engine.stores.s3.store import S3Store
from dsp_airflow.engine.stores.s3.translate import Conflict, Gone
from dsp_airflow.engine.stores.s3.upload import Upload

__all__ = [
    "About",
    "Bucket",
    "Conflict",
    "Gone",
    "Listed",
    "S3Store",
    "Stored",
    "Unfinished",
    "Upload",
]
