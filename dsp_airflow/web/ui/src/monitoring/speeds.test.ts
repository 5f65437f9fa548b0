import { expect, test } from "vitest";
import { type Samples, sampled } from "./speeds";

test("a speed is of the time between two looks, and only the last are kept", () => {
  let seen: Samples | undefined;
  for (let look = 0; look < 100; look += 1) {
    seen = sampled(seen, look * 500, look * 2_000);
  }
  expect(seen?.speeds).toEqual(Array(40).fill(250));
});

test("rows that grow fewer, as by a new attempt, begin anew", () => {
  const first = sampled(undefined, 100, 0);
  const second = sampled(first, 300, 1_000);
  expect(second.speeds).toEqual([200]);
  expect(sampled(second, 10, 2_000)).toEqual({ at: 2_000, rows: 10, speeds: [] });
  expect(sampled(second, 400, 1_000)).toBe(second);
});
