/** In which step of the form each field stands. Pure. */

import { type Field, fieldsOf, jobsOf, type Schema } from "./schema";

/** Of a job. What is named nowhere is in the last one, so that nothing is left out. */
const JOB = {
  source: ["name", "type", "source", "key", "after"],
  target: ["target", "on_conflict"],
  columns: ["columns", "accept_loss"],
  rows: [
    "mode",
    "where",
    "variables",
    "belongs_to",
    "keep_newest",
    "cursor",
    "step",
    "delete_missing",
    "allow_empty",
  ],
  check: ["check", "purge", "accept_triggers", "report_values", "keep_last_auto_increment"],
} as const;
const TASK = {
  task: ["name", "display_name", "description", "owner"],
  schedule: ["schedule", "execution", "priority", "timeout", "retries"],
  people: ["notify", "approval", "remarks"],
} as const;

export const STEPS = [
  "task",
  "source",
  "target",
  "columns",
  "rows",
  "check",
  "pace",
  "schedule",
  "people",
] as const;

export type Step = (typeof STEPS)[number];

export function ofJob(step: Step): boolean {
  return step in JOB || step === "pace";
}

/** The fields of a step; of one about a job those that its type has. */
export function fieldsIn(step: Step, schema: Schema, type: string): Field[] {
  if (ofJob(step)) {
    const fields = fieldsOf(jobsOf(schema)[type] ?? {}, schema);
    return chosen(fields, JOB, step, "pace");
  }
  const fields = fieldsOf(schema, schema).filter((one) => one.name !== "jobs");
  return chosen(fields, TASK, step, "schedule");
}

function chosen(
  fields: readonly Field[],
  steps: Readonly<Record<string, readonly string[]>>,
  step: Step,
  rest: Step,
): Field[] {
  const named = steps[step] ?? [];
  const found = named.flatMap((name) => fields.filter((one) => one.name === name));
  if (step !== rest) {
    return found;
  }
  const known = Object.values(steps).flat();
  return [...found, ...fields.filter((one) => !known.includes(one.name))];
}
