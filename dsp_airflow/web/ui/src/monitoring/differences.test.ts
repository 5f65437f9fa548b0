import { expect, test } from "vitest";
import { csv } from "../csv";
import { differenceLines } from "./differences";

test("a file holds a line for each column, and no formula", () => {
  const row = {
    job: "j",
    batch: 2,
    phase: "check" as const,
    kind: "changed",
    key: ["7", "a,b"],
    columns: ["page", "total"],
    reason: "",
    source: ['=HYPERLINK("x")', "-5.20"],
    target: [null, "@x"],
  };
  const whole = { ...row, key: ["8"], columns: [], source: null, target: null, kind: "missing" };
  expect(csv(differenceLines([row, whole])).split("\r\n")).toEqual([
    '"Batch","Found by","Kind","Key","Column","Source","Target","Reason"',
    `"2","check","changed","7, a,b","page","'=HYPERLINK(""x"")","",""`,
    `"2","check","changed","7, a,b","total","-5.20","'@x",""`,
    '"2","check","missing","8","","","",""',
    "",
  ]);
});
