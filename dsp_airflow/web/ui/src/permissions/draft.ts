/** A grant that somebody writes, and how grants are told. Pure. */

import type { Privilege, Scope } from "../shapes";
import { words } from "../words";

const text = words.permissions;

export const PRIVILEGES = Object.keys(text.privileges) as Privilege[];

export interface Draft {
  holder: string;
  isRole: boolean;
  connection: string;
  container: string;
  item: string;
  isPath: boolean;
  privileges: readonly Privilege[];
  /** A day, which is part of it; empty: no end. */
  until: string;
}

export function emptyDraft(holder = "", isRole = false): Draft {
  return {
    holder,
    isRole,
    connection: "",
    container: "",
    item: "",
    isPath: false,
    privileges: ["read"],
    until: "",
  };
}

/** What is still missing; null where nothing is. */
export function missing(draft: Draft, own: boolean): string | null {
  const named = own || draft.holder.trim() !== "";
  if (!named || draft.connection.trim() === "" || draft.privileges.length === 0) {
    return own ? text.incompleteOwn : text.incomplete;
  }
  return draft.item.trim() !== "" && draft.container.trim() === "" ? text.itemAlone : null;
}

export function scopeOf(draft: Draft): Scope {
  const item = draft.item.trim() || null;
  return {
    connection: draft.connection.trim(),
    container: draft.container.trim() || null,
    item,
    is_path: item !== null && draft.isPath,
  };
}

/** What the API is sent, but for who has it. */
export function valuesOf(draft: Draft): object {
  const until = Date.parse(`${draft.until}T00:00:00Z`);
  return {
    ...scopeOf(draft),
    privileges: draft.privileges,
    until: Number.isNaN(until) ? null : new Date(until + 86_400_000).toISOString(),
  };
}

/** `archive_s3 / cold / orders/…`: what is below is meant, too. */
export function scopeText(scope: Scope): string {
  const item = scope.item !== null && scope.is_path ? `${scope.item}/…` : scope.item;
  return [scope.connection, scope.container, item].filter((one) => one !== null).join(" / ");
}

export function mayText(privileges: readonly string[]): string {
  return privileges.join(", ");
}

export function holderText(holder: string, isRole: boolean): string {
  return isRole ? `${text.roleMark} ${holder}` : holder;
}
