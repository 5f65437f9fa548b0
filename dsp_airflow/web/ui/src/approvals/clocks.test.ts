import { expect, test } from "vitest";
import type { RequestChange, RequestState } from "../shapes";
import { clocks } from "./clocks";

const LENGTHS = { approval: 3600, waiting: 7200, execution: 600 };

function moved(after: RequestState, minute: number): RequestChange {
  const changed_at = new Date(Date.UTC(2026, 0, 1, 12, minute)).toISOString();
  return { version: minute, before: null, after, actor: "dsp", note: "", changed_at };
}

function states(state: RequestState, until: string | null, ...history: RequestChange[]) {
  return clocks({ clocks: LENGTHS, state, until, history }).map((one) => one.state);
}

test("the first clock runs over all nodes, from the first of them", () => {
  const history = [moved("CREATED", 0), moved("APPROVING", 0), moved("APPROVING", 20)];
  const until = "2026-01-01T13:00:00.000Z";
  const [approval, waiting] = clocks({ clocks: LENGTHS, state: "APPROVING", until, history });
  expect(approval).toEqual({
    name: "approval",
    length: 3600,
    began: "2026-01-01T12:00:00.000Z",
    ends: until,
    state: "runs",
  });
  expect(waiting?.state).toBe("next");
});

test("one after the other", () => {
  const asked = [moved("CREATED", 0), moved("APPROVING", 0)];
  const agreed = [...asked, moved("WAIT_FOR_EXECUTION", 10)];
  const begun = [...agreed, moved("EXECUTING", 20)];
  const soon = "2026-01-01T14:10:00.000Z";
  expect(states("WAIT_FOR_EXECUTION", soon, ...agreed)).toEqual(["met", "runs", "next"]);
  expect(states("EXECUTING", soon, ...begun)).toEqual(["met", "met", "runs"]);
  expect(states("EXECUTION_SUCCEEDED", null, ...begun)).toEqual(["met", "met", "met"]);
  expect(states("EXECUTION_EXPIRED", null, ...begun)).toEqual(["met", "met", "expired"]);
  expect(states("APPROVAL_EXPIRED", null, ...asked)).toEqual(["expired", "skipped", "skipped"]);
  expect(states("REJECTED", null, ...asked)).toEqual(["met", "skipped", "skipped"]);
});
