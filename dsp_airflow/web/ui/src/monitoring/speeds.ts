/** How fast rows came between two looks, for as long as the page is open. */

import { useRef } from "react";
import type { Count } from "../format";

const KEPT = 40;

export interface Samples {
  at: number;
  rows: number;
  speeds: readonly number[];
}

/** The samples after one more look. Pure. */
export function sampled(before: Samples | undefined, rows: number, at: number): Samples {
  if (before === undefined || rows < before.rows) {
    return { at, rows, speeds: [] };
  }
  const seconds = (at - before.at) / 1_000;
  if (seconds <= 0) {
    return before;
  }
  return { at, rows, speeds: [...before.speeds, (rows - before.rows) / seconds].slice(-KEPT) };
}

export type Speeds = (key: string, rows: Count, at: number | undefined) => readonly number[];

/** Remembers what was seen of each key. */
export function useSpeeds(): Speeds {
  const seen = useRef(new Map<string, Samples>());
  return (key, rows, at) => {
    const before = seen.current.get(key);
    if (at === undefined || before?.at === at) {
      return before?.speeds ?? [];
    }
    const after = sampled(before, Number(rows), at);
    seen.current.set(key, after);
    return after.speeds;
  };
}
