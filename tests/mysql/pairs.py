"""Jobs between any two databases, of PostgreSQL, MySQL or MongoDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsp_airflow.state.records import JobSummary
from tests.engine.harness import Bench
from tests.servers import Database, MongoDatabase, MySQLDatabase

Values = Sequence[tuple[str, Sequence[str]]]
"""Types as a table declares them, each with the literals of its values."""


@dataclass
class Pair(Bench[Any]):
    """A source and a target of any kind."""

    def job(self, name: str = "copy", table: str = "t", **more: Any) -> dict[str, Any]:
        target = {"table": self.named(self.target, table), **more.pop("target", {})}
        return super().job(name, self.named(self.source, table), target=target, **more)

    def named(self, database: Database | MySQLDatabase | MongoDatabase, table: str) -> str:
        """As a task file names a table."""
        return f"public.{table}" if isinstance(database, Database) else table

    def fill(self, values: Values, key: str = "id int PRIMARY KEY") -> int:
        """Makes the source's table ``t``: a column ``c<n>`` a type, NULLs at the end."""
        columns = [f"c{n} {native} NULL" for n, (native, _) in enumerate(values)]
        charset = "CHARACTER SET utf8mb4" if isinstance(self.source, MySQLDatabase) else ""
        self.lenient(self.source, f"CREATE TABLE t ({', '.join([key, *columns])}) {charset}")
        count = max(len(literals) for _, literals in values) + 1
        for row in range(count):
            given = [of[row] if row < len(of) else "NULL" for _, of in values]
            self.lenient(self.source, f"INSERT INTO t VALUES ({', '.join([str(row), *given])})")
        return count

    def lenient(self, database: Database | MySQLDatabase, *statements: str) -> None:
        """Runs what a strict MySQL would not take: dates of zeros."""
        mode = ["SET sql_mode = 'ALLOW_INVALID_DATES'", "SET time_zone = '+00:00'"]
        database.execute(*(mode if isinstance(database, MySQLDatabase) else []), *statements)

    def moved(self, rows: int, **more: Any) -> JobSummary:
        """Copied, all of it checked, purged: nothing differs and nothing is kept."""
        self.write(self.job(check={"percent": 100}, purge="system", batch_size=7, **more))
        (job,) = self.run().jobs
        assert (job.rows_different, job.rows_kept) == (0, 0)
        assert job.rows_purged == job.rows_written == job.rows_checked == rows
        return job
