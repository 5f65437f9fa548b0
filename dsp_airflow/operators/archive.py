"""The step that archives to object storage."""

from __future__ import annotations

from dsp_airflow.operators.sync import TableSyncOperator


class S3ArchiveOperator(TableSyncOperator):
    """Archives a job's rows to S3, and writes the manifest when all are there.

    A retry, or a clear, archives what is left. In a task file's DAG it follows the plan.
    Standing alone it plans by itself::

        flights = {
            "job": "flights",
            "source": {"connection": "shop_pg", "table": "public.flights"},
            "target": {"connection": "archive_s3", "bucket": "archive", "prefix": "flights"},
            "where": "time_hour < :cutoff",
            "variables": {"cutoff": "now-90d"},
            "check": {"percent": 100},
            "purge": "system",
        }
        with DAG("archive_flights", schedule=None):
            (
                S3ArchiveOperator(task_id="archive", **flights)
                >> ConsistencyCheckOperator(task_id="check", **flights)
                >> PurgeSourceOperator(task_id="purge", **flights)
            )

    :param shard: number of this task among several that share the job's batches.
    """
