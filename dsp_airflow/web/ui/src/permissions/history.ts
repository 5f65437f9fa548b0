/** Records of the audit about permissions, in words. Pure. */

import type { AuditRecord } from "../shapes";
import { words } from "../words";
import { holderText, mayText, scopeText } from "./draft";

const told = words.permissions.told;

type Values = Readonly<Record<string, unknown>>;

export function tell(record: AuditRecord): string {
  const [before, after] = [valuesOf(record.before), valuesOf(record.after)];
  switch (record.action) {
    case "grant.add":
      return told.gave(...grantOf(after));
    case "grant.revoke":
      return told.revoked(...grantOf(before));
    case "role.add":
      return told.joined(roleOf(record), without(after, before));
    case "role.remove":
      return told.left(roleOf(record), without(before, after));
    case "role.delete":
      return told.deleted(roleOf(record), without(before, after));
    case "administrator.seen":
      return after["administrator"] === true ? told.rules : told.rulesNot;
    default:
      return told.other(record.action, record.object);
  }
}

function grantOf(values: Values): [string, string, string] {
  const text = (name: string) => (values[name] === null ? null : String(values[name] ?? ""));
  const scope = {
    connection: text("connection") ?? "",
    container: text("container"),
    item: text("item"),
    is_path: values["is_path"] === true,
  };
  const may = Array.isArray(values["privileges"]) ? values["privileges"].map(String) : [];
  return [
    holderText(text("holder") ?? "", values["is_role"] === true),
    mayText(may),
    scopeText(scope),
  ];
}

function roleOf(record: AuditRecord): string {
  return record.object.replace(/^role /, "");
}

/** The members of the one that are not among the other's. */
function without(one: Values, other: Values): string {
  const those = new Set(membersOf(other));
  return membersOf(one)
    .filter((name) => !those.has(name))
    .join(", ");
}

function membersOf(values: Values): string[] {
  return Array.isArray(values["members"]) ? values["members"].map(String) : [];
}

function valuesOf(value: unknown): Values {
  return typeof value === "object" && value !== null ? (value as Values) : {};
}
