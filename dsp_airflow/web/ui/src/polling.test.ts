import { expect, test } from "vitest";
import { pause } from "./polling";

test.each([
  [0, 30, 2_000],
  [1, 30, 4_000],
  [3, 30, 16_000],
  [9, 30, 30_000],
  // Who answers slowly is left alone for twice as long as the answer took.
  [0, 3_000, 6_000],
  [0, 60_000, 30_000],
])("after %s failures and an answer in %s ms it waits %s ms", (failures, took, found) =>
  expect(pause(2_000, failures, took)).toBe(found),
);

test("what is asked for seldom is not asked for more often by failing", () => {
  expect(pause(60_000, 2, 10)).toBe(60_000);
});
