/** Lines of what archives hold, one for each way; names and figures stand beside them. */

import { Box, HStack, Text } from "@chakra-ui/react";
import { bytes } from "../format";
import { words } from "../words";
import { type Line, points } from "./growth";

const [WIDE, HIGH, ROOM] = [960, 190, 20];
/** A colour and a dash for each: nobody has to tell them by colour alone. */
const STROKES = [
  { colour: "blue.500", dash: "none" },
  { colour: "orange.500", dash: "7 3" },
  { colour: "teal.500", dash: "2 3" },
  { colour: "purple.500", dash: "12 3 2 3" },
  { colour: "pink.500", dash: "5 5" },
] as const;

/** As many lines as can be told from each other. */
export const LINES = STROKES.length;

export function Growth({ lines, days }: { lines: readonly Line[]; days: readonly string[] }) {
  const most = Math.max(1, ...lines.flatMap((line) => line.sizes));
  return (
    <Box>
      <svg
        viewBox={`0 -${ROOM} ${WIDE} ${HIGH + 2 * ROOM + 4}`}
        width="100%"
        role="img"
        aria-label={words.reports.growth}
        style={{ maxHeight: "18rem" }}
      >
        <Box asChild color="fg.muted">
          <g>
            <line x1={0} x2={WIDE} y1={HIGH} y2={HIGH} stroke="currentColor" strokeOpacity={0.5} />
            <line x1={0} x2={WIDE} y1={0} y2={0} stroke="currentColor" strokeOpacity={0.2} />
          </g>
        </Box>
        {lines.map((line, at) => (
          <Box asChild key={line.name} color={STROKES[at % LINES]?.colour ?? "fg"}>
            <polyline
              points={points(line.sizes, most, WIDE, HIGH)}
              fill="none"
              stroke="currentColor"
              strokeWidth={2}
              strokeDasharray={STROKES[at % LINES]?.dash ?? "none"}
            >
              <title>{words.reports.growthTitle(line.name, bytes(line.sizes.at(-1)))}</title>
            </polyline>
          </Box>
        ))}
        <Tick x={0} y={-6} anchor="start" text={bytes(most)} />
        <Tick x={0} y={HIGH + 16} anchor="start" text={days[0] ?? ""} />
        <Tick x={WIDE} y={HIGH + 16} anchor="end" text={days.at(-1) ?? ""} />
      </svg>
      <HStack gap={4} wrap="wrap" mt={2}>
        {lines.map((line, at) => (
          <HStack key={line.name} gap={2}>
            <Box asChild color={STROKES[at % LINES]?.colour ?? "fg"} flexShrink={0}>
              <svg width={28} height={8} aria-hidden="true">
                <line
                  x1={0}
                  x2={28}
                  y1={4}
                  y2={4}
                  stroke="currentColor"
                  strokeWidth={2}
                  strokeDasharray={STROKES[at % LINES]?.dash ?? "none"}
                />
              </svg>
            </Box>
            <Text fontSize="xs" overflowWrap="anywhere">
              {line.name}
            </Text>
          </HStack>
        ))}
      </HStack>
    </Box>
  );
}

interface TickProps {
  x: number;
  y: number;
  anchor: "start" | "end";
  text: string;
}

function Tick({ x, y, anchor, text }: TickProps) {
  return (
    <Text asChild fill="fg.muted" fontSize="12px">
      <text x={x} y={y} textAnchor={anchor}>
        {text}
      </text>
    </Text>
  );
}
