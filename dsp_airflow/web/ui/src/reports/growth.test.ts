import { expect, test } from "vitest";
import { daysOf, growth, points } from "./growth";

test("an archive keeps what it holds on days on which nothing came", () => {
  const days = daysOf(Date.parse("2026-03-28T00:00:00Z"), Date.parse("2026-04-01T00:00:00Z"));
  expect(days).toEqual(["2026-03-28", "2026-03-29", "2026-03-30", "2026-03-31"]);
  const archive = {
    source: "pg: orders",
    target: "s3: cold",
    rows_before: 1,
    bytes_before: "100",
    days: [
      { day: "2026-03-29", rows: 1, bytes: 50 },
      { day: "2026-03-31", rows: 1, bytes: "850" },
    ],
  };
  const [line] = growth([archive], days);
  expect(line).toEqual({ name: "pg: orders → s3: cold", sizes: [100, 150, 150, 1000] });
  expect(points(line?.sizes ?? [], 1000, 300, 100)).toBe(
    "0.0,90.0 100.0,85.0 200.0,85.0 300.0,0.0",
  );
  expect(points([5], 5, 300, 100)).toBe("0.0,0.0");
});
