/** YAML cut into pieces that are coloured by what they are. Pure. */

import { Lexer } from "yaml";

export type PieceKind = "comment" | "key" | "text" | "sign" | "plain";

export interface Piece {
  kind: PieceKind;
  text: string;
}

const SIGNS = /^(?:[-?:,[\]{}|>&*!%]|---|\.\.\.)/;

/** The pieces of each line: all of them together are the text as it was. */
export function linesOf(source: string): Piece[][] {
  const lines: Piece[][] = [[]];
  const add = (kind: PieceKind, text: string) => {
    text.split("\n").forEach((part, at) => {
      if (at > 0) {
        lines.push([]);
      }
      if (part !== "") {
        lines.at(-1)?.push({ kind, text: part });
      }
    });
  };
  const tokens = tokensOf(source);
  tokens.forEach((token, at) => {
    if (token.text.startsWith("#")) {
      add("comment", token.text);
    } else if (token.scalar) {
      add(isKey(tokens, at) ? "key" : "text", token.text);
    } else {
      add(SIGNS.test(token.text) ? "sign" : "plain", token.text);
    }
  });
  return lines;
}

interface Token {
  text: string;
  scalar: boolean;
}

/** The lexer's own marks are left out: what is left is the text. */
function tokensOf(source: string): Token[] {
  const found: Token[] = [];
  let scalar = false;
  for (const text of new Lexer().lex(source)) {
    if (text === "\x1f") {
      // The next one is a scalar without quotes.
      scalar = true;
    } else if (text !== "\x02" && text !== "\x18" && text !== "\ufeff") {
      found.push({ text, scalar: scalar || text.startsWith('"') || text.startsWith("'") });
      scalar = false;
    }
  }
  return found;
}

/** Whether a colon follows, but for blanks. */
function isKey(tokens: readonly Token[], at: number): boolean {
  const next = tokens.slice(at + 1).find((one) => one.scalar || /\S|\n/.test(one.text));
  return next !== undefined && !next.scalar && next.text.startsWith(":");
}
