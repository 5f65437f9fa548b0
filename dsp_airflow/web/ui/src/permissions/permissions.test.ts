import { expect, test } from "vitest";
import type { AuditRecord } from "../shapes";
import { emptyDraft, missing, scopeText, valuesOf } from "./draft";
import { tell } from "./history";

const record = (action: string, object: string, before: unknown, after: unknown): AuditRecord => ({
  seq: 1,
  recorded_at: "2026-03-01T00:00:00Z",
  actor: "anna",
  action,
  object,
  before,
  after,
  address: null,
});

test("the last day of a grant is a part of it, and what is empty is everything", () => {
  const draft = { ...emptyDraft("olga"), connection: " shop_pg ", until: "2026-12-31" };
  expect(valuesOf(draft)).toEqual({
    connection: "shop_pg",
    container: null,
    item: null,
    is_path: false,
    privileges: ["read"],
    until: "2027-01-01T00:00:00.000Z",
  });
  expect(valuesOf({ ...draft, until: "", isPath: true })).toMatchObject({
    until: null,
    is_path: false,
  });
});

test("what is missing is told before it is sent", () => {
  const draft = { ...emptyDraft(), connection: "shop_pg" };
  expect(missing(draft, false)).toContain("Say who");
  expect(missing(draft, true)).toBeNull();
  expect(missing({ ...draft, privileges: [] }, true)).toContain("what");
  expect(missing({ ...draft, item: "orders" }, true)).toContain("needs its schema");
});

test("records say who had what, and roles only what changed", () => {
  const grant = {
    holder: "owners",
    is_role: true,
    connection: "archive",
    container: "cold",
    item: "orders",
    is_path: true,
    privileges: ["purge", "read"],
  };
  expect(tell(record("grant.add", "grant 1", null, grant))).toBe(
    "gave role owners: purge, read on archive / cold / orders/…",
  );
  expect(tell(record("grant.revoke", "grant 1", { ...grant, item: null }, null))).toContain(
    "archive / cold",
  );
  const members = (...names: string[]) => ({ members: names });
  expect(tell(record("role.add", "role owners", members("a"), members("a", "b")))).toBe(
    "gave the role owners to b",
  );
  expect(tell(record("role.remove", "role owners", members("a", "b"), members("b")))).toBe(
    "took the role owners from a",
  );
  expect(tell(record("role.delete", "role owners", members("a", "b"), null))).toBe(
    "deleted the role owners of a, b",
  );
  expect(tell(record("grant.strange", "grant 1", "text", null))).toBe("grant.strange: grant 1");
  expect(scopeText({ connection: "pg", container: null, item: null, is_path: false })).toBe("pg");
});
