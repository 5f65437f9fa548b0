/** Tables as files for spreadsheets. */

import { address, get, type Page, Problem, type Query } from "./api";

const PAGE = 500;
const MOST = 50_000;

/** All lines of a list, page by page; `tooMany` says what to do where there are more than 50,000. */
export async function everything<T>(
  route: string,
  query: Query,
  tooMany: (most: number) => string,
): Promise<T[]> {
  const found: T[] = [];
  for (let total = 1; found.length < total; ) {
    const page = await get<Page<T>>(
      address(route, { ...query, limit: PAGE, offset: found.length }),
    );
    if (page.total > MOST) {
      throw new Problem(413, tooMany(MOST));
    }
    total = page.items.length === 0 ? 0 : page.total;
    found.push(...page.items);
  }
  return found;
}

/** Gives the browser a file. */
export function download(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

/** Lines of fields, of which none is a formula to a spreadsheet. Pure. */
export function csv(lines: readonly (readonly (string | number | null)[])[]): string {
  return lines
    .map((line) => `${line.map((one) => field(String(one ?? ""))).join(",")}\r\n`)
    .join("");
}

function field(text: string): string {
  // What begins like this is a formula to a spreadsheet, and these are the values of strangers.
  const plain = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+$/.test(text) ? `'${text}` : text;
  return `"${plain.replaceAll('"', '""')}"`;
}
