/** Which of Airflow's colours a state has. The names are those of its theme. */

import type { BatchState, RunState } from "./shapes";

const PALETTES: Readonly<Record<string, string>> = {
  // Runs and jobs
  planned: "scheduled",
  waiting: "none",
  running: "running",
  copying: "running",
  checking: "running",
  purging: "restarting",
  copied: "scheduled",
  checked: "success",
  succeeded: "success",
  failed: "failed",
  terminated: "upstream_failed",
  // Drills
  right: "success",
  working: "running",
  // Tasks
  enabled: "success",
  disabled: "skipped",
  offline: "removed",
  // Batches
  different: "failed",
  purged: "success",
  kept: "up_for_retry",
  // Requests
  CREATED: "queued",
  APPROVING: "awaiting_input",
  REJECTED: "failed",
  APPROVAL_EXPIRED: "upstream_failed",
  WAIT_FOR_EXECUTION: "scheduled",
  WAIT_FOR_EXECUTION_EXPIRED: "upstream_failed",
  EXECUTING: "running",
  EXECUTION_SUCCEEDED: "success",
  EXECUTION_FAILED: "failed",
  EXECUTION_EXPIRED: "upstream_failed",
  CANCELLED: "skipped",
};

export function palette(state: string): string {
  return PALETTES[state] ?? "gray";
}

export function ended(state: RunState): boolean {
  return state === "succeeded" || state === "failed" || state === "terminated";
}

/** From the worst to the best: of several batches in one cell the first that there is. */
const SEVERITY: readonly BatchState[] = [
  "different",
  "kept",
  "purging",
  "checking",
  "copying",
  "waiting",
  "copied",
  "checked",
  "purged",
];

/** What a cell of several batches shows. Pure. */
export function worst(states: Partial<Record<BatchState, number>>): BatchState {
  return SEVERITY.find((state) => (states[state] ?? 0) > 0) ?? "waiting";
}

/** The colour of a cell; batches whose last try ended in an error are red, whatever they are. */
export const CELL: Readonly<Record<BatchState | "failed", string>> = {
  waiting: "none.emphasized",
  copying: "running.solid",
  copied: "sky.300",
  checking: "running.solid",
  checked: "teal.500",
  different: "failed.solid",
  purging: "restarting.solid",
  purged: "success.solid",
  kept: "up_for_retry.solid",
  failed: "failed.solid",
};
