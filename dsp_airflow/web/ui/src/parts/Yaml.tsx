/** YAML, coloured, its lines numbered; those with problems are marked. */

import { Box } from "@chakra-ui/react";
import { linesOf, type PieceKind } from "../tasks/source";

const COLOURS: Readonly<Record<PieceKind, string>> = {
  comment: "fg.muted",
  key: "blue.fg",
  text: "fg",
  sign: "fg.muted",
  plain: "fg",
};

interface YamlProps {
  label: string;
  source: string;
  /** Numbers of lines, from 1. */
  marked?: ReadonlySet<number>;
}

export function Yaml({ label, source, marked }: YamlProps) {
  return (
    <Box
      as="pre"
      role="region"
      aria-label={label}
      tabIndex={0}
      fontSize="xs"
      fontFamily="mono"
      bg="bg.subtle"
      borderRadius="sm"
      py={2}
      m={0}
      maxH="36rem"
      overflow="auto"
    >
      {linesOf(source.trimEnd()).map((pieces, at) => (
        <Box
          // biome-ignore lint/suspicious/noArrayIndexKey: a line is its place
          key={at}
          display="flex"
          minH="1.4em"
          {...(marked?.has(at + 1) && { bg: "failed.subtle", "data-marked": at + 1 })}
        >
          <Box
            as="span"
            aria-hidden="true"
            w="3.2em"
            pe={3}
            flexShrink={0}
            textAlign="end"
            color={marked?.has(at + 1) ? "fg" : "fg.muted"}
            userSelect="none"
          >
            {at + 1}
          </Box>
          <Box as="span" whiteSpace="pre-wrap" overflowWrap="anywhere" minW={0}>
            {pieces.map((piece, place) => (
              <Box
                // biome-ignore lint/suspicious/noArrayIndexKey: a piece is its place
                key={place}
                as="span"
                // On the colour of a marked line the others are hard to read.
                color={marked?.has(at + 1) ? "fg" : COLOURS[piece.kind]}
              >
                {piece.text}
              </Box>
            ))}
          </Box>
        </Box>
      ))}
    </Box>
  );
}

/** The lines that problems of a file are about: they say `file:line:column`. Pure. */
export function linesWith(problems: readonly { where: string }[]): ReadonlySet<number> {
  const found = problems.map((one) => Number(/:(\d+):\d+$/.exec(one.where)?.[1]));
  return new Set(found.filter((one) => !Number.isNaN(one)));
}
