/** A run's figures, from those of its jobs. Pure. */

import { type Count, sum } from "../format";
import type { JobCounts, RunLine, SourceStatus } from "../shapes";

export interface Totals {
  rows: Count;
  planned: Count;
  bytes: Count;
  different: Count;
  checked: Count;
  purged: Count;
  kept: Count;
  speed: number | null;
  eta: string | null;
  source: SourceStatus;
}

const SOURCES: readonly SourceStatus[] = ["kept", "partly", "unprocessed", "processed", "keeps"];

export function totals(run: RunLine): Totals {
  const all = (of: (job: JobCounts) => Count) => sum(run.jobs.map(of));
  const working = run.jobs.filter((job) => job.eta !== null);
  return {
    rows: all((job) => job.rows_written),
    planned: all((job) => job.rows_total),
    bytes: all((job) => job.bytes),
    different: all((job) => job.rows_different),
    checked: all((job) => job.rows_checked),
    purged: all((job) => job.rows_purged),
    kept: all((job) => job.rows_kept),
    speed:
      working.length > 0
        ? working.reduce((speed, job) => speed + (job.rows_per_second ?? 0), 0)
        : onlySpeed(run.jobs),
    // Jobs may run at once: the run is ready when the last of them is.
    eta:
      working
        .map((job) => job.eta ?? "")
        .sort()
        .at(-1) ?? null,
    source: SOURCES.find((one) => run.jobs.some((job) => job.source_data === one)) ?? "keeps",
  };
}

function onlySpeed(jobs: readonly JobCounts[]): number | null {
  return jobs.length === 1 ? (jobs[0]?.rows_per_second ?? null) : null;
}
