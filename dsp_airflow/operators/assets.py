"""Asset events: a target that was written, and proved where the job asks for it.

What a step writes is known when its DAG is built, unless it has a template in it, or several
tasks share the work: then an alias stands for it, and the event is added to that at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias

from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.names import split_table
from dsp_airflow.config.tasks import Job
from dsp_airflow.config.templates import texts

SCHEME = "x-dsp"
"""Airflow leaves URIs of schemes with x- as they are; others it takes for its providers'."""


def target_uri(job: Job) -> str:
    """``x-dsp://<connection>/<schema>.<table>``, the names as the task file has them.

    What a run completes is a ``*``, which is percent-encoded in every other name.
    """
    if isinstance(job, S3Job):
        # The prefix is another one every time; its folder for all runs is what stands before that.
        folder = quote(job.target.prefix.split("{{")[0].rstrip("/"))
        return f"{SCHEME}://{quote(job.target.connection, safe='')}/{job.target.bucket}/{folder}"
    parts = job.target_name if isinstance(job, WarmJob) else split_table(job.target_table)
    table = ".".join("*".join(quote(text, safe="") for text in texts(part)) for part in parts)
    return f"{SCHEME}://{quote(job.target.connection, safe='')}/{table}"


def target_asset(job: Job) -> Asset:
    """What other DAGs are scheduled on."""
    return Asset(target_uri(job))


def target_alias(dag_id: str, job: str) -> AssetAlias:
    """Stands for the target of a job until it is known that it is written."""
    return AssetAlias(f"dsp:{dag_id}/{job}")


def add_event(outlets: list[Any], events: Any, job: Job, facts: Mapping[str, str | int]) -> None:
    """Tells what was written: on the asset itself, or on the alias that stands for it."""
    asset = target_asset(job)
    for outlet in outlets:
        if isinstance(outlet, AssetAlias) and outlet.name.startswith("dsp:"):
            events[outlet].add(asset, extra=dict(facts))
        elif isinstance(outlet, Asset) and outlet.uri == asset.uri:
            events[outlet].extra = dict(facts)
