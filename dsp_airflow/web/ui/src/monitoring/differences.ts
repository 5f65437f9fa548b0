/** The rows of a job that differ or were kept, as a file. */

import { path } from "../api";
import { csv, download, everything } from "../csv";
import { count } from "../format";
import type { DifferenceLine } from "../shapes";
import { words } from "../words";

/** Asks for all of them, and gives the browser a file. */
export async function downloadDifferences(run: string, job: string): Promise<void> {
  const found = await everything<DifferenceLine>(
    path("runs", run, "differences"),
    { job },
    (most) => words.job.tooMany(count(most)),
  );
  download(`${run}-${job}.csv`, csv(differenceLines(found)));
}

/** One line for each column that differs, and one for a row that differs as a whole. Pure. */
export function differenceLines(rows: readonly DifferenceLine[]): string[][] {
  const lines: string[][] = [Object.values(words.job.differenceColumns)];
  for (const row of rows) {
    const columns = row.columns.length > 0 ? row.columns : [""];
    columns.forEach((column, at) => {
      lines.push([
        String(row.batch),
        row.phase,
        row.kind,
        row.key.join(", "),
        column,
        row.source?.[at] ?? "",
        row.target?.[at] ?? "",
        row.reason,
      ]);
    });
  }
  return lines;
}
