/** A process while somebody writes it, and as the API takes it. Pure. */

import type { ProcessLevel, ProcessLine, ProcessNode, ProcessValues } from "../shapes";

export const SUBTYPES = [
  "insert",
  "update",
  "delete",
  "select",
  "create",
  "drop",
  "alter",
  "other",
] as const;

export interface DraftLevel {
  name: string;
  subtypes: string[];
  maxRows: string;
  maxBytes: string;
  maxStatements: string;
  labels: string;
  nodes: { kind: "role" | "user" | "automatic"; name: string }[];
}

export interface Draft {
  name: string;
  taskType: string;
  remarks: string;
  validity: { approval: string; waiting: string; execution: string };
  start: string;
  approve: string;
  requesterMayDecide: boolean;
  samePersonMayDecide: boolean;
  levels: DraftLevel[];
  everywhere: boolean;
  names: string;
  labels: string;
}

export function newLevel(): DraftLevel {
  return {
    name: "",
    subtypes: [...SUBTYPES],
    maxRows: "",
    maxBytes: "",
    maxStatements: "",
    labels: "",
    nodes: [{ kind: "role", name: "administrators" }],
  };
}

export function draftOf(process?: ProcessLine): Draft {
  const values: ProcessValues = process?.values ?? {};
  const { connections = "all", validity = {} } = values;
  const day = "24h";
  return {
    name: process?.name ?? "",
    taskType: process?.task_type ?? "warm",
    remarks: values.remarks ?? "",
    validity: {
      approval: validity.approval ?? day,
      waiting: validity.waiting ?? day,
      execution: validity.execution ?? day,
    },
    start: values.start ?? "automatic",
    approve: values.approve ?? "run",
    requesterMayDecide: values.requester_may_decide ?? false,
    samePersonMayDecide: values.same_person_may_decide ?? false,
    levels: values.levels?.map(levelOf) ?? [newLevel()],
    everywhere: connections === "all",
    names: connections === "all" ? "" : (connections.names ?? []).join(", "),
    labels: connections === "all" ? "" : (connections.labels ?? []).join(", "),
  };
}

function levelOf(level: ProcessLevel): DraftLevel {
  const limit = (value: unknown) => (value === null || value === undefined ? "" : String(value));
  return {
    name: level.name ?? "",
    subtypes: level.subtypes ?? [...SUBTYPES],
    maxRows: limit(level.max_rows),
    maxBytes: limit(level.max_bytes),
    maxStatements: limit(level.max_statements),
    labels: (level.connection_labels ?? []).join(", "),
    nodes: (level.nodes ?? []).map((node) => {
      if (node.automatic) {
        return { kind: "automatic", name: "" };
      }
      return node.role !== undefined
        ? { kind: "role", name: node.role }
        : { kind: "user", name: node.user ?? "" };
    }),
  };
}

/** What the API is sent. What the form does not show is kept as it was. */
export function valuesOf(draft: Draft, before?: ProcessLine): ProcessValues {
  return {
    ...before?.values,
    name: draft.name.trim(),
    task_type: draft.taskType,
    remarks: draft.remarks.trim(),
    validity: draft.validity,
    start: draft.start === "manual" ? "manual" : "automatic",
    approve: draft.approve === "definition" ? "definition" : "run",
    requester_may_decide: draft.requesterMayDecide,
    same_person_may_decide: draft.samePersonMayDecide,
    levels: draft.levels.map((level) => ({
      name: level.name.trim(),
      subtypes: level.subtypes,
      ...limitOf("max_rows", level.maxRows),
      ...limitOf("max_bytes", level.maxBytes),
      ...limitOf("max_statements", level.maxStatements),
      connection_labels: words(level.labels),
      nodes: level.nodes.map(nodeOf),
    })),
    connections: draft.everywhere
      ? "all"
      : { names: words(draft.names), labels: words(draft.labels) },
  };
}

/** Left out where there is none; what is no number goes as it is, for the server to refuse. */
function limitOf(name: string, text: string): Record<string, unknown> {
  const trimmed = text.trim();
  if (trimmed === "") {
    return {};
  }
  return { [name]: /^\d{1,15}$/.test(trimmed) ? Number(trimmed) : trimmed };
}

function nodeOf({ kind, name }: DraftLevel["nodes"][number]): ProcessNode {
  return kind === "automatic" ? { automatic: true } : { [kind]: name.trim() };
}

function words(text: string): string[] {
  return text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
}
