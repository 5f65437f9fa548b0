/** Data that is asked for again and again while somebody looks. */

import { useCallback, useEffect, useRef, useState } from "react";
import { get, type Problem, problemFrom } from "./api";

/** While something goes on. */
export const LIVE = 2_000;
/** Where nothing moves by itself: a page that is only looked at asks less than once in two seconds. */
export const IDLE = 10_000;
const EVERY = 5_000;
const LONGEST = 30_000;

export interface Polled<T> {
  /** What was answered last; also while a later question fails. */
  data: T | undefined;
  problem: Problem | undefined;
  /** When `data` was answered. */
  at: number | undefined;
  reload: () => void;
}

/**
 * How long to wait after so many failures in a row, and after an answer that took so long: a server
 * that has much to do is asked less often. Pure.
 */
export function pause(every: number, failures: number, took: number): number {
  const rhythm = Math.max(every, 2 * took);
  return Math.min(Math.max(every, LONGEST), rhythm * 2 ** Math.min(failures, 10));
}

/**
 * The answer of `url`, asked for every five seconds, or `every` so often; not while the tab is
 * hidden, and once only where `every` is null. A new rhythm holds from the next answer on. A question waits for the answer to the one before, so a slow server is not asked
 * by several at once.
 */
export function usePolled<T>(url: string | null, every: number | null = EVERY): Polled<T> {
  const [state, setState] = useState<Omit<Polled<T>, "reload">>({
    data: undefined,
    problem: undefined,
    at: undefined,
  });
  const now = useRef<() => void>(() => undefined);
  const rhythm = useRef(every);
  rhythm.current = every;

  useEffect(() => {
    if (url === null) {
      return;
    }
    let timer: number | undefined;
    let failures = 0;
    let asking: AbortController | undefined;

    const look = async () => {
      window.clearTimeout(timer);
      asking?.abort();
      const own = new AbortController();
      asking = own;
      const began = performance.now();
      try {
        const data = await get<T>(url, own.signal);
        failures = 0;
        if (!own.signal.aborted) {
          setState({ data, problem: undefined, at: Date.now() });
        }
      } catch (error) {
        if (own.signal.aborted) {
          return;
        }
        const problem = problemFrom(error);
        failures += 1;
        setState((before) => ({ ...before, problem }));
        if (!problem.passing) {
          return;
        }
      }
      if (own.signal.aborted || (rhythm.current === null && failures === 0)) {
        return;
      }
      const took = performance.now() - began;
      timer = window.setTimeout(whenSeen, pause(rhythm.current ?? EVERY, failures, took));
    };
    const whenSeen = () => {
      timer = undefined;
      if (!document.hidden) {
        void look();
      }
    };
    const seen = () => {
      // Only what was due while hidden is made up for.
      if (!document.hidden && timer === undefined && rhythm.current !== null) {
        void look();
      }
    };
    now.current = () => void look();
    document.addEventListener("visibilitychange", seen);
    void look();
    return () => {
      asking?.abort();
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [url]);

  const reload = useCallback(() => now.current(), []);
  return { ...state, reload };
}

/** The time, told anew every second while the tab is seen, so that relative times move. */
export function useNow(every = 1_000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = window.setInterval(() => {
      if (!document.hidden) {
        setNow(Date.now());
      }
    }, every);
    return () => window.clearInterval(timer);
  }, [every]);
  return now;
}
