/** Lines of a unified diff, and what each is. Pure. */

export type DiffKind = "added" | "removed" | "place" | "same";

export interface DiffLine {
  text: string;
  kind: DiffKind;
}

export function diffLines(lines: readonly string[]): DiffLine[] {
  // The first two name the sides, as in every unified diff; later ones of the same look are text.
  return lines.slice(2).map((text) => ({ text, kind: kindOf(text) }));
}

function kindOf(text: string): DiffKind {
  if (text.startsWith("@@")) {
    return "place";
  }
  if (text.startsWith("+")) {
    return "added";
  }
  return text.startsWith("-") ? "removed" : "same";
}
