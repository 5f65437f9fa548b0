/** What changed between two texts. */

import { Box } from "@chakra-ui/react";
import { type DiffKind, diffLines } from "./diff";

const TINTS: Readonly<Record<DiffKind, { bg?: string; color?: string }>> = {
  added: { bg: "success.subtle" },
  removed: { bg: "failed.subtle" },
  place: { color: "fg.muted" },
  same: {},
};

export function Diff({ lines }: { lines: readonly string[] }) {
  return (
    <Box as="pre" fontSize="xs" fontFamily="mono" m={0} overflow="auto" maxH="28rem">
      {diffLines(lines).map((line, at) => (
        <Box
          // biome-ignore lint/suspicious/noArrayIndexKey: a line is its place
          key={at}
          px={2}
          whiteSpace="pre-wrap"
          overflowWrap="anywhere"
          {...TINTS[line.kind]}
        >
          {line.text}
        </Box>
      ))}
    </Box>
  );
}
