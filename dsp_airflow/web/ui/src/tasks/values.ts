/** A task while somebody writes it, and the YAML that it becomes. Pure. */

import { parse, stringify } from "yaml";
import type { Schema } from "./schema";
import { jobsOf } from "./schema";

export type Values = Readonly<Record<string, unknown>>;

export function newJob(): Values {
  return { type: "warm" };
}

export function newTask(owner: string): Values {
  return { owner, jobs: [newJob()] };
}

/** The values with another one under a name; what is empty is left out. */
export function put(values: Values, name: string, value: unknown): Values {
  const { [name]: _, ...rest } = values;
  return isEmpty(value) ? rest : { ...values, [name]: value };
}

export function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === "") {
    return true;
  }
  return isValues(value) && Object.keys(value).length === 0;
}

export function isValues(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function jobsIn(task: Values): Values[] {
  const { jobs } = task;
  return Array.isArray(jobs) ? jobs : [];
}

/** The task as a file says it: keys in the order of the schema, and none that it does not know. */
export function yamlOf(task: Values, schema: Schema): string {
  const kinds = jobsOf(schema);
  const jobs = jobsIn(task).map((job) => ordered(job, kinds[String(job["type"])] ?? {}));
  const file = { ...ordered(task, schema), jobs };
  // Words such as yes, and times such as 12:30, are something else to readers of YAML 1.1.
  return stringify(file, { schema: "yaml-1.1", lineWidth: 100 });
}

function ordered(values: Values, schema: Schema): Values {
  const names = Object.keys(schema.properties ?? {});
  const found: Record<string, unknown> = {};
  for (const name of names) {
    const value = values[name];
    if (!isEmpty(value)) {
      found[name] = value;
    }
  }
  return found;
}

/** What somebody typed into a field for any value. */
export function read(text: string, keys: readonly string[] = []): unknown {
  const trimmed = text.trim();
  if (trimmed === "") {
    return undefined;
  }
  const first = /^([A-Za-z_]+)\s*:/.exec(trimmed)?.[1];
  if (/^[{[]/.test(trimmed) || (first !== undefined && keys.includes(first))) {
    try {
      return parse(trimmed);
    } catch {
      // Not yet, or not ever: it is told of the text.
      return trimmed;
    }
  }
  return number(trimmed) ?? trimmed;
}

/** A number where the text is one, and not changed by being one. */
export function number(text: string): number | undefined {
  const value = Number(text);
  return text !== "" && String(value) === text ? value : undefined;
}

/** A value as somebody would type it. */
export function shown(value: unknown): string {
  if (value === undefined || value === null) {
    return "";
  }
  return typeof value === "object"
    ? stringify(value, { schema: "yaml-1.1" }).trim()
    : String(value);
}

/** Names with commas between them. */
export function names(text: string): string[] | undefined {
  const found = text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
  return found.length > 0 ? found : undefined;
}
