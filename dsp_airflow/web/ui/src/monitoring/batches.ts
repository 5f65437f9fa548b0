/** Batches as people name them: `1-3,7`, or `all`. Pure. */

type Range = readonly [first: number, last: number];

/** The ranges that a text names, put together; or which part of it is no batch. */
export function rangesIn(text: string, last: number): Range[] | string {
  if (text.trim() === "all") {
    return [[1, last]];
  }
  const found: Range[] = [];
  for (const part of text.split(",").map((one) => one.trim())) {
    const range = /^(\d{1,9})(?:\s*-\s*(\d{1,9}))?$/.exec(part);
    if (!range) {
      return part;
    }
    const [from, to] = [Number(range[1]), Number(range[2] ?? range[1])];
    if (from < 1 || to < from || to > last) {
      return part;
    }
    found.push([from, to]);
  }
  return together(found);
}

/** How many batches a text names, or which part of it is no batch. */
export function batchCount(text: string, last: number): number | string {
  const found = rangesIn(text, last);
  return typeof found === "string"
    ? found
    : found.reduce((batches, [from, to]) => batches + to - from + 1, 0);
}

/** Whether all of a range is among those that a text names. */
export function holds(text: string, range: Range, last: number): boolean {
  const found = rangesIn(text, last);
  return (
    typeof found !== "string" && found.some(([from, to]) => from <= range[0] && range[1] <= to)
  );
}

/** The text with a range more, or less where it names all of it. What is wrong in it goes. */
export function toggled(text: string, range: Range, last: number): string {
  const found = rangesIn(text, last);
  const known = typeof found === "string" ? [] : found;
  const after = holds(text, range, last)
    ? known.flatMap(([from, to]): Range[] =>
        to < range[0] || from > range[1]
          ? [[from, to]]
          : [
              [from, range[0] - 1],
              [range[1] + 1, to],
            ],
      )
    : [...known, range];
  return together(after.filter(([from, to]) => from <= to))
    .map(([from, to]) => (from === to ? String(from) : `${from}-${to}`))
    .join(",");
}

/** In their order; what touches is one, and what is named twice counts once. */
function together(ranges: readonly Range[]): Range[] {
  const found: [number, number][] = [];
  for (const [from, to] of [...ranges].sort(([a], [b]) => a - b)) {
    const before = found.at(-1);
    if (before !== undefined && from <= before[1] + 1) {
      before[1] = Math.max(before[1], to);
    } else {
      found.push([from, to]);
    }
  }
  return found;
}
