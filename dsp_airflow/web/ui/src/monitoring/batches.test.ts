import { describe, expect, test } from "vitest";
import { batchCount, holds, rangesIn, toggled } from "./batches";

describe("batches", () => {
  test.each([
    ["1", 1],
    [" 7, 1-3 ,2", 4],
    ["2-5, 1-8, 8", 8],
    ["all", 8],
    ["9", "9"],
    ["0", "0"],
    ["3-1", "3-1"],
    ["1,,2", ""],
    ["some", "some"],
    ["-1", "-1"],
    ["", ""],
  ])("of 8, %s are %s", (text, found) => expect(batchCount(text, 8)).toEqual(found));
});

test("ranges that touch are one", () => {
  expect(rangesIn("5,1-3,4,9", 10)).toEqual([
    [1, 5],
    [9, 9],
  ]);
});

test("a range is added, and taken away again", () => {
  expect(toggled("", [3, 4], 10)).toBe("3-4");
  expect(toggled("3-4", [5, 6], 10)).toBe("3-6");
  expect(toggled("3-6", [4, 4], 10)).toBe("3,5-6");
  expect(toggled("3-4", [3, 4], 10)).toBe("");
  expect(toggled("all", [1, 2], 10)).toBe("3-10");
  // Of one that it names in part, the rest is added.
  expect(toggled("3", [3, 4], 10)).toBe("3-4");
  expect(toggled("what", [1, 1], 10)).toBe("1");
  expect(holds("1-5", [2, 3], 10)).toBe(true);
  expect(holds("1-2,4", [2, 4], 10)).toBe(false);
  expect(holds("what", [1, 1], 10)).toBe(false);
});
