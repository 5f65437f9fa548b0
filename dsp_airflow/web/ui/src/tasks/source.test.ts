import { expect, test } from "vitest";
import { linesOf } from "./source";

const TEXT = `# what for
name: flights   # its name
jobs:
  - {name: "one", where: 'a: b'}
  - name: two
    where: |
      x > 1
      and y: 2
`;

test("all of the text is there, line by line", () => {
  for (const text of [TEXT, "", "a: [", "\tx", 'a: "never closed\nb', "{}"]) {
    const lines = linesOf(text).map((pieces) => pieces.map((one) => one.text).join(""));
    expect(lines.join("\n")).toBe(text);
  }
});

test("keys, texts and comments are told apart", () => {
  const found = linesOf(TEXT).flat();
  const of = (kind: string) =>
    found.filter((one) => one.kind === kind).map((one) => one.text.trim());
  expect(of("comment")).toEqual(["# what for", "# its name"]);
  expect(of("key")).toEqual(["name", "jobs", "name", "where", "name", "where"]);
  expect(of("text")).toEqual(["flights", '"one"', "'a: b'", "two", "x > 1", "and y: 2"]);
});
