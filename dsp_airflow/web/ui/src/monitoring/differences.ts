/** The rows of a job that differ or were kept, as a file. */

import { address, get, type Page, Problem, path } from "../api";
import { count } from "../format";
import type { DifferenceLine } from "../shapes";
import { words } from "../words";

const PAGE = 500;
const MOST = 50_000;

/** Asks for all of them, page by page, and gives the browser a file. */
export async function downloadDifferences(run: string, job: string): Promise<void> {
  const found: DifferenceLine[] = [];
  for (let total = 1; found.length < total; ) {
    const query = { job, limit: PAGE, offset: found.length };
    const page = await get<Page<DifferenceLine>>(address(path("runs", run, "differences"), query));
    if (page.total > MOST) {
      throw new Problem(413, words.job.tooMany(count(MOST)));
    }
    total = page.items.length === 0 ? 0 : page.total;
    found.push(...page.items);
  }
  const url = URL.createObjectURL(new Blob([csv(found)], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${run}-${job}.csv`;
  link.click();
  URL.revokeObjectURL(url);
}

/** One line for each column that differs, and one for a row that differs as a whole. Pure. */
export function csv(rows: readonly DifferenceLine[]): string {
  const titles = words.job.differenceColumns;
  const lines: string[][] = [Object.values(titles)];
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
  return lines.map((line) => `${line.map(field).join(",")}\r\n`).join("");
}

function field(text: string): string {
  // What begins like this is a formula to a spreadsheet, and these are the values of strangers.
  const plain = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+$/.test(text) ? `'${text}` : text;
  return `"${plain.replaceAll('"', '""')}"`;
}
