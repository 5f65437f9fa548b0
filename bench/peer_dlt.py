"""One table through dlt, as its documentation has it: `sql_table` into the `postgres` destination,
or into `filesystem` where the target is a URL of a folder.

Runs in the peers' own environment, so nothing of the project may be imported here. Prints its
measurement as JSON. Imports are done before the clock starts, as for our own steps.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import dlt
from dlt.destinations import filesystem, postgres
from dlt.sources.sql_database import sql_table

SCHEMA = "dlt_data"


def main(source: str, target: str, table: str, backend: str, file_format: str) -> None:
    with tempfile.TemporaryDirectory(prefix="dsp-bench-dlt-") as folder:
        os.environ["DLT_DATA_DIR"] = folder
        os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
        began = time.perf_counter()
        options = {"conn": source} if backend == "connectorx" else {}
        resource_ = sql_table(
            # dlt brings psycopg2; SQLAlchemy would look for another driver.
            credentials=source.replace("postgresql:", "postgresql+psycopg2:", 1),
            table=table,
            backend=backend,
            reflection_level="full_with_precision",
            backend_kwargs=options,
        )
        pipeline = dlt.pipeline(
            f"bench_{backend}",
            destination=(filesystem(target) if target.startswith("file:") else postgres(target)),
            dataset_name=SCHEMA,
            pipelines_dir=str(Path(folder) / "pipelines"),
        )
        done = pipeline.run(
            resource_,
            write_disposition="append",
            loader_file_format=None if file_format == "default" else file_format,
        )
        done.raise_on_failed_jobs()
        seconds = time.perf_counter() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    found = {"seconds": seconds, "cpu": cpu, "version": dlt.__version__}
    json.dump(found | {"whole": max(usage.ru_maxrss for usage in used) * 1024}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
