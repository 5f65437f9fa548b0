/** All batches of a job as cells in the colour of their state. */

import { Box, Flex, HStack, Text } from "@chakra-ui/react";
import { count } from "../format";
import type { BatchState, StripCell, Strip as StripShape } from "../shapes";
import { CELL, worst } from "../states";
import { words } from "../words";

interface StripProps {
  strip: StripShape;
  isChosen: (cell: StripCell) => boolean;
  choose: (cell: StripCell) => void;
}

export function Strip({ strip, isChosen, choose }: StripProps) {
  const counts = new Map<BatchState, number>();
  for (const cell of strip.cells) {
    for (const [state, number] of Object.entries(cell.states) as [BatchState, number][]) {
      counts.set(state, (counts.get(state) ?? 0) + number);
    }
  }
  return (
    <>
      <Flex wrap="wrap" gap="2px" role="group" aria-label={words.job.strip}>
        {strip.cells.map((cell) => (
          <Cell key={cell.first} cell={cell} chosen={isChosen(cell)} choose={choose} />
        ))}
      </Flex>
      <HStack mt={3} gap={4} wrap="wrap">
        {[...counts].map(([state, number]) => (
          <Swatch
            key={state}
            colour={CELL[state]}
            text={`${count(number)} ${words.job.batchStates[state]}`}
          />
        ))}
      </HStack>
    </>
  );
}

/** A colour of the strip, and what it means. */
export function Swatch({ colour, text }: { colour: string; text: string }) {
  return (
    <HStack gap={1.5} whiteSpace="nowrap">
      <Box boxSize="10px" borderRadius="2px" bg={colour} />
      <Text fontSize="xs">{text}</Text>
    </HStack>
  );
}

interface CellProps {
  cell: StripCell;
  chosen: boolean;
  choose: (cell: StripCell) => void;
}

function Cell({ cell, chosen, choose }: CellProps) {
  const state = worst(cell.states);
  const parts = (Object.entries(cell.states) as [BatchState, number][]).map(
    ([one, number]) =>
      (cell.first === cell.last ? "" : `${count(number)} `) + words.job.batchStates[one],
  );
  if (cell.errors > 0) {
    parts.push(words.job.failedLast);
  }
  const text = words.job.cell(cell.first, cell.last, parts.join(", "));
  return (
    <Box asChild>
      <button
        type="button"
        title={text}
        aria-label={text}
        aria-pressed={chosen}
        onClick={() => choose(cell)}
        data-state={cell.errors > 0 ? "failed" : state}
        style={{ lineHeight: 0 }}
      >
        <Box
          as="span"
          display="block"
          w="12px"
          h="18px"
          borderRadius="2px"
          cursor="pointer"
          bg={CELL[cell.errors > 0 ? "failed" : state]}
          outline={chosen ? "2px solid" : "none"}
          outlineColor="fg"
          outlineOffset="1px"
          _hover={{ opacity: 0.7 }}
        />
      </button>
    </Box>
  );
}
