/** The three clocks of a request, from its history. Pure. */

import type { RequestDetail, RequestState } from "../shapes";

export type ClockName = "approval" | "waiting" | "execution";

export interface Clock {
  name: ClockName;
  /** Its whole length, in seconds. */
  length: number;
  began: string | null;
  /** When it was, or would be, over. */
  ends: string | null;
  state: "next" | "runs" | "met" | "expired" | "skipped";
}

const RUNS: Readonly<Record<ClockName, RequestState>> = {
  approval: "APPROVING",
  waiting: "WAIT_FOR_EXECUTION",
  execution: "EXECUTING",
};
const EXPIRED: Readonly<Record<ClockName, RequestState>> = {
  approval: "APPROVAL_EXPIRED",
  waiting: "WAIT_FOR_EXECUTION_EXPIRED",
  execution: "EXECUTION_EXPIRED",
};
const OPEN: readonly RequestState[] = ["CREATED", "APPROVING", "WAIT_FOR_EXECUTION", "EXECUTING"];

type Clocked = Pick<RequestDetail, "clocks" | "history" | "state" | "until">;

export function clocks(request: Clocked): Clock[] {
  return (Object.keys(RUNS) as ClockName[]).map((name) => clock(request, name));
}

function clock(request: Clocked, name: ClockName): Clock {
  const entered = request.history.filter((one) => one.after === RUNS[name]);
  // The approval's runs over all nodes; the execution's anew where a failed one goes on.
  const first = name === "execution" ? entered.at(-1) : entered[0];
  const length = request.clocks[name];
  if (first === undefined) {
    const state = OPEN.includes(request.state) ? "next" : "skipped";
    return { name, length, began: null, ends: null, state };
  }
  const runs = request.state === RUNS[name];
  const ends =
    runs && request.until !== null
      ? request.until
      : new Date(Date.parse(first.changed_at) + length * 1_000).toISOString();
  const state = runs ? "runs" : request.state === EXPIRED[name] ? "expired" : "met";
  return { name, length, began: first.changed_at, ends, state };
}
