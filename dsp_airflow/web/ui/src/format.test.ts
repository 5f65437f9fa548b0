import { describe, expect, test } from "vitest";
import { ago, bytes, count, duration, elapsed, exact, percent, period, sum } from "./format";

const NOW = Date.parse("2026-03-29T12:00:00Z");

describe("numbers", () => {
  test.each([
    [0, "0"],
    [1234567, "1,234,567"],
    ["9007199254740993", "9,007,199,254,740,993"],
    [12.34, "12.3"],
    [null, "–"],
  ])("%s is written %s", (value, text) => expect(count(value)).toBe(text));

  test.each([
    [0, "0 B"],
    [1023, "1,023 B"],
    [1536, "1.5 KiB"],
    [5 * 1024 ** 3, "5 GiB"],
    [undefined, "–"],
  ])("%s bytes are %s", (value, text) => expect(bytes(value)).toBe(text));

  test("only what is done says 100 %", () => {
    expect([0, 0.29, 0.9999, 1, 1.2].map(percent)).toEqual([
      "0 %",
      "29 %",
      "99 %",
      "100 %",
      "100 %",
    ]);
  });
});

describe("times", () => {
  test.each([
    [0, "0 s"],
    [0.4, "<1 s"],
    [59.9, "59 s"],
    [61, "1 min 01 s"],
    [3600 * 2 + 300, "2 h 05 min"],
    [86400 * 3 + 3600 * 4, "3 d 04 h"],
    [null, "–"],
  ])("%s s last %s", (value, text) => expect(duration(value)).toBe(text));

  test.each([
    ["2026-03-29T11:59:30Z", "30 seconds ago"],
    ["2026-03-29T11:00:30Z", "59 minutes ago"],
    ["2026-03-29T14:00:00Z", "in 2 hours"],
    ["2026-03-31T11:59:00Z", "in 47 hours"],
    ["2026-03-27T12:00:00Z", "2 days ago"],
    ["2026-03-19T12:00:00Z", "10 days ago"],
  ])("%s was %s", (moment, text) => expect(ago(moment, NOW)).toBe(text));

  test("a period is told as it was set", () => {
    expect([172800, 43200, 5400, 90].map(period)).toEqual([
      "48 h",
      "12 h",
      "1 h 30 min",
      "1 min 30 s",
    ]);
  });

  test("the exact time is in UTC", () => {
    expect(exact("2026-03-29T02:30:00.123+02:00")).toBe("2026-03-29 00:30:00 UTC");
  });

  test("a period is over by a part of it", () => {
    expect(elapsed("2026-03-29T10:00:00Z", "2026-03-29T14:00:00Z", NOW)).toBe(0.5);
    expect(elapsed("2026-03-29T13:00:00Z", "2026-03-29T14:00:00Z", NOW)).toBe(0);
    expect(elapsed("2026-03-29T10:00:00Z", "2026-03-29T10:00:00Z", NOW)).toBe(1);
  });
});

test("a sum stays exact", () => {
  expect(sum([1, 2])).toBe(3);
  expect(sum([Number.MAX_SAFE_INTEGER, 2])).toBe("9007199254740993");
  expect(sum([])).toBe(0);
});
