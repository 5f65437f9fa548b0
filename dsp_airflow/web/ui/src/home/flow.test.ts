import { expect, test } from "vitest";
import { picture } from "./flow";

const flow = (source: string, target: string, rows: number) => ({ source, target, rows, bytes: 0 });

test("bands are as high as their share, and meet both blocks without overlap", () => {
  const drawn = picture([flow("a", "x", 60), flow("a", "y", 20), flow("b", "x", 20)], 100);
  expect(drawn.sources).toEqual([
    { name: "a", y: 0, height: 80 },
    { name: "b", y: 94, height: 20 },
  ]);
  expect(drawn.targets).toEqual([
    { name: "x", y: 0, height: 80 },
    { name: "y", y: 94, height: 20 },
  ]);
  expect(drawn.bands.map(({ from, to, height }) => [from, to, height])).toEqual([
    [0, 0, 60],
    [60, 94, 20],
    [94, 60, 20],
  ]);
  expect(drawn.height).toBe(114);
});

test("a small one is seen, and one that moved nothing is not drawn", () => {
  const drawn = picture([flow("a", "x", 1_000_000), flow("a", "y", 1), flow("a", "z", 0)], 100);
  expect(drawn.bands.map((band) => band.height)).toEqual([expect.closeTo(100, 2), 3]);
  expect(picture([], 100)).toEqual({ sources: [], targets: [], bands: [], height: 0 });
});
