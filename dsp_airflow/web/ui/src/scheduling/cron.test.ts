import { expect, test } from "vitest";
import { inWords } from "./cron";

test.each([
  ["0 2 * * *", "every day at 02:00"],
  ["@daily", "every day at 00:00"],
  ["*/15 * * * *", "every 15 minutes"],
  ["* * * * *", "every minute"],
  ["5 * * * *", "every hour at minute 5"],
  ["0 */6 * * *", "every 6 hours at minute 0"],
  ["30 22 * * 1-5", "Monday to Friday at 22:30"],
  ["0 3 * * 0,3", "every Sunday, Wednesday at 03:00"],
  ["0 4 1 * *", "on day 1 of every month at 04:00"],
  // What is more than that is shown as it is, never half.
  ["0 4 1 1 *", null],
  ["0 4 1 * 1", null],
  ["0,30 4 * * *", null],
  ["0 4 * * 1#2", null],
  ["manual", null],
  ["once: 2026-01-01T00:00:00Z", null],
])("%s is %s", (schedule, words) => expect(inWords(schedule)).toBe(words));
