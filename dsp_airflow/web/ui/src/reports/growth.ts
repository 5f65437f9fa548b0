/** How archives grew, as lines of what they hold at the end of each day. Pure. */

import type { ArchiveReport } from "../shapes";
import { words } from "../words";

export interface Line {
  name: string;
  /** Bytes at the end of each day. */
  sizes: number[];
}

const DAY = 86_400_000;

/** Every day from the first to the last. */
export function daysOf(from: number, until: number): string[] {
  const found: string[] = [];
  for (let at = from; at < until; at += DAY) {
    found.push(new Date(at).toISOString().slice(0, 10));
  }
  return found;
}

export function growth(archives: readonly ArchiveReport[], days: readonly string[]): Line[] {
  return archives.map((one) => {
    const came = new Map(one.days.map(({ day, bytes }) => [day, Number(bytes)]));
    let size = Number(one.bytes_before);
    return {
      name: words.reports.way(one.source, one.target),
      sizes: days.map((day) => {
        size += came.get(day) ?? 0;
        return size;
      }),
    };
  });
}

/** `x,y` of a line in a picture of this size, of which `most` is the top. */
export function points(
  sizes: readonly number[],
  most: number,
  width: number,
  height: number,
): string {
  const step = sizes.length > 1 ? width / (sizes.length - 1) : 0;
  return sizes
    .map((size, at) => `${(at * step).toFixed(1)},${(height - (size / most) * height).toFixed(1)}`)
    .join(" ");
}
