import { expect, test } from "vitest";
import type { ProcessLine } from "../shapes";
import { draftOf, valuesOf } from "./draft";
import { moved } from "./ordering";

const LINE: ProcessLine = {
  name: "A",
  task_type: "warm",
  enabled: true,
  priority: 7,
  values: {
    name: "A",
    task_type: "warm",
    enabled: true,
    priority: 7,
    connections: { names: ["shop"], labels: ["production", "eu"] },
    levels: [
      {
        name: "low",
        subtypes: ["insert"],
        max_rows: 10,
        connection_labels: [],
        nodes: [{ role: "owners" }, { user: "anna" }, { automatic: true }],
      },
    ],
    validity: { approval: "2d", waiting: "1d", execution: "1d" },
    approve: "definition",
    start: "manual",
    requester_may_decide: true,
    same_person_may_decide: false,
    remarks: "all",
  },
  file: null,
  created_by: "anna",
  created_at: null,
  changed_by: null,
  changed_at: null,
};

test("a process that is opened and saved is the same", () => {
  expect(valuesOf(draftOf(LINE), LINE)).toEqual(LINE.values);
});

test("a new one asks the administrators, everywhere", () => {
  const values = valuesOf({ ...draftOf(), name: " B " });
  expect(values).toMatchObject({ name: "B", task_type: "warm", connections: "all" });
  expect(values.levels?.[0]?.nodes).toEqual([{ role: "administrators" }]);
  expect(values.levels?.[0]).not.toHaveProperty("max_rows");
});

test("what is no number is for the server to refuse", () => {
  const draft = draftOf();
  const [level] = draft.levels;
  const values = valuesOf({ ...draft, levels: level ? [{ ...level, maxRows: "many" }] : [] });
  expect(values.levels?.[0]?.max_rows).toBe("many");
});

test("an entry is moved", () => {
  expect(moved(["a", "b", "c"], 0, 2)).toEqual(["b", "c", "a"]);
  expect(moved(["a", "b", "c"], 2, 0)).toEqual(["c", "a", "b"]);
  expect(moved(["a", "b"], 0, -1)).toEqual(["a", "b"]);
  expect(moved(["a", "b"], 1, 2)).toEqual(["a", "b"]);
});
