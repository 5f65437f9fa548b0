/** The fields of a form, as a JSON Schema says them. Pure. */

export interface Schema {
  $ref?: string;
  $defs?: Readonly<Record<string, Schema>>;
  type?: string | readonly string[];
  const?: unknown;
  enum?: readonly unknown[];
  anyOf?: readonly Schema[];
  properties?: Readonly<Record<string, Schema>>;
  patternProperties?: Readonly<Record<string, Schema>>;
  items?: Schema;
  required?: readonly string[];
  description?: string;
  default?: unknown;
  examples?: readonly unknown[];
}

interface About {
  name: string;
  description: string;
  required: boolean;
  /** What holds where nothing is written. */
  usual: string;
  example: string;
}

export type Field = About &
  (
    | { kind: "text" | "number" | "truth" | "names" | "pairs" }
    | { kind: "choice"; options: readonly string[] }
    /** Any value, as YAML has it; `long` for one that may be a mapping with several lines. */
    | { kind: "free"; long: boolean }
    | { kind: "group" | "rows"; fields: readonly Field[] }
    | { kind: "either"; ways: readonly Way[] }
  );

/** One of several forms that a value may have: a word of its own, or what a field holds. */
export type Way = { label: string; value: string } | { label: string; field: Field };

/** What a form does not offer: a part of a task in another file. */
const ELSEWHERE = "#/$defs/FileReference";
const SCALARS = ["string", "number", "integer", "boolean"];

/** The fields of an object, in their order. */
export function fieldsOf(schema: Schema, root: Schema): Field[] {
  const { properties = {}, required = [] } = followed(schema, root);
  return Object.entries(properties).map(([name, one]) =>
    fieldOf(name, one, root, required.includes(name)),
  );
}

/** The names of the types of jobs, and the schema of each. */
export function jobsOf(root: Schema): Readonly<Record<string, Schema>> {
  const found = (root.properties?.["jobs"]?.items?.anyOf ?? [])
    .filter((one) => one.$ref !== ELSEWHERE)
    .map((one) => followed(one, root));
  return Object.fromEntries(found.map((one) => [String(one.properties?.["type"]?.const), one]));
}

function fieldOf(name: string, schema: Schema, root: Schema, required: boolean): Field {
  const about: About = {
    name,
    description: schema.description ?? "",
    required,
    usual: written(schema.default),
    example: written(schema.examples?.[0]),
  };
  const found = followed(schema, root);
  const ways = waysOf(found, root);
  if (ways.length > 1) {
    return several(about, ways, root);
  }
  const one = ways[0] ?? found;
  if (one.enum !== undefined) {
    return {
      ...about,
      kind: "choice",
      options: one.enum.filter((value) => value !== null).map(String),
    };
  }
  if (one.type === "array") {
    const items = followed(one.items ?? {}, root);
    return items.properties === undefined
      ? { ...about, kind: "names" }
      : { ...about, kind: "rows", fields: fieldsOf(items, root) };
  }
  if (one.properties !== undefined) {
    return { ...about, kind: "group", fields: fieldsOf(one, root) };
  }
  if (one.patternProperties !== undefined) {
    return { ...about, kind: "pairs" };
  }
  return { ...about, ...simple(one) };
}

function simple(
  schema: Schema,
): { kind: "text" | "number" | "truth" } | { kind: "free"; long: boolean } {
  switch (schema.type) {
    case "string":
      return { kind: "text" };
    case "integer":
    case "number":
      return { kind: "number" };
    case "boolean":
      return { kind: "truth" };
    default:
      return { kind: "free", long: schema.type === undefined || schema.type === "object" };
  }
}

function several(about: About, ways: readonly Schema[], root: Schema): Field {
  if (ways.every(isScalar)) {
    return { ...about, kind: "free", long: false };
  }
  // What holds itself, or anything, is written as YAML.
  if (ways.some((one) => !isScalar(one) && (one.properties === undefined || holdsItself(one)))) {
    return { ...about, kind: "free", long: true };
  }
  return {
    ...about,
    kind: "either",
    ways: ways.map((one) => {
      if (one.const !== undefined) {
        return { label: String(one.const), value: String(one.const) };
      }
      const field = fieldOf(about.name, { ...one, description: "" }, root, false);
      const label = field.kind === "group" ? field.fields.map((part) => part.name).join(", ") : "";
      return { label, field: { ...field, example: isScalar(one) ? about.example : "" } };
    }),
  };
}

/** All forms that a value may have, but null and another file. */
function waysOf(schema: Schema, root: Schema): Schema[] {
  if (schema.anyOf === undefined) {
    return [schema];
  }
  return schema.anyOf
    .filter((one) => one.$ref !== ELSEWHERE && one.type !== "null")
    .flatMap((one) => waysOf(followed(one, root), root));
}

function isScalar(schema: Schema): boolean {
  const { type } = schema;
  return (
    schema.const !== undefined ||
    (typeof type === "string" && SCALARS.includes(type)) ||
    Array.isArray(type)
  );
}

function holdsItself(schema: Schema): boolean {
  const refs = JSON.stringify(schema).match(/"\$ref":"[^"]*"/g) ?? [];
  return refs.some((ref) => ref.includes("Rules"));
}

/** What a reference stands for; what stands beside it comes first. */
function followed(schema: Schema, root: Schema): Schema {
  const { $ref, ...own } = schema;
  if ($ref === undefined) {
    return schema;
  }
  const target = root.$defs?.[$ref.replace("#/$defs/", "")];
  if (target === undefined) {
    throw new Error(`the schema has no ${$ref}`);
  }
  return { ...followed(target, root), ...own };
}

function written(value: unknown): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) {
    return "";
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}
