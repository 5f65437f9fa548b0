import { expect, test } from "vitest";
import published from "../../../../../dags/task.schema.json";
import { type Field, fieldsOf, jobsOf, type Schema } from "./schema";
import { fieldsIn, ofJob, STEPS } from "./steps";
import { newTask, put, read, yamlOf } from "./values";

const SCHEMA = published as unknown as Schema;

function field(type: string, name: string): Field {
  const found = fieldsOf(jobsOf(SCHEMA)[type] ?? {}, SCHEMA).find((one) => one.name === name);
  if (found === undefined) {
    throw new Error(`no ${name}`);
  }
  return found;
}

test("every key that a file may have is in one step of the form", () => {
  const names = (steps: readonly (typeof STEPS)[number][], type: string) =>
    steps.flatMap((step) => fieldsIn(step, SCHEMA, type).map((one) => one.name)).sort();
  const about = (job: boolean) => STEPS.filter((step) => ofJob(step) === job);
  expect(Object.keys(jobsOf(SCHEMA))).toEqual(["warm", "s3", "restore"]);
  for (const [type, schema] of Object.entries(jobsOf(SCHEMA))) {
    expect(names(about(true), type)).toEqual(Object.keys(schema.properties ?? {}).sort());
  }
  const task = Object.keys(SCHEMA.properties ?? {}).filter((one) => one !== "jobs");
  expect(names(about(false), "warm")).toEqual(task.sort());
});

test("fields are what the schema says", () => {
  expect(field("warm", "source").kind).toBe("group");
  expect(field("warm", "purge")).toMatchObject({
    kind: "choice",
    options: ["none", "manual", "system"],
    usual: "none",
  });
  expect(field("warm", "columns").kind).toBe("rows");
  expect(field("warm", "key").kind).toBe("names");
  expect(field("warm", "variables").kind).toBe("pairs");
  expect(field("warm", "where")).toMatchObject({ kind: "free", long: true });
  expect(field("warm", "batch_size")).toMatchObject({ kind: "free", long: false });
  expect(field("warm", "workers").kind).toBe("number");
  expect(field("warm", "gridfs").kind).toBe("truth");
  const check = field("warm", "check");
  expect(check.kind === "either" && check.ways.map((one) => one.label)).toEqual([
    "percent, seed",
    "none",
  ]);
});

test("the file has the keys that were filled in, in the order of the schema", () => {
  const job = {
    purge: "manual",
    type: "warm",
    name: "one",
    target: { connection: "b" },
    source: { table: "public.on", connection: "yes" },
    variables: { at: "12:30", many: 5, old: "now-90d" },
    where: "a > :old",
    bucket: "of another type",
  };
  const task = put(put(newTask("anna"), "name", "flights"), "jobs", [job]);
  expect(yamlOf(put(task, "schedule", "0 2 * * *"), SCHEMA)).toBe(`name: flights
owner: anna
schedule: 0 2 * * *
jobs:
  - name: one
    type: warm
    source:
      table: public.on
      connection: "yes"
    target:
      connection: b
    where: a > :old
    variables:
      at: "12:30"
      many: 5
      old: now-90d
    purge: manual
`);
  expect(put({ a: 1, b: 2 }, "a", "")).toEqual({ b: 2 });
});

test("what is typed is the text, but for numbers and what is a mapping", () => {
  const keys = ["all", "column"];
  expect(read("note = 'a: b'", keys)).toBe("note = 'a: b'");
  expect(read("x::date > 5", keys)).toBe("x::date > 5");
  expect(read("all:\n  - {column: a, operator: is_null}", keys)).toEqual({
    all: [{ column: "a", operator: "is_null" }],
  });
  expect(read('{"status": "done"}', keys)).toEqual({ status: "done" });
  expect(read("{status: ", keys)).toBe("{status:");
  expect(read("100")).toBe(100);
  expect(read("007")).toBe("007");
  expect(read("1e400")).toBe("1e400");
  expect(read("  ")).toBeUndefined();
});
