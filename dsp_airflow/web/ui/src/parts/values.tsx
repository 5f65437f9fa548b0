/** Single values: states, times, shares. */

import { Badge, Box, HStack, Progress, Text } from "@chakra-ui/react";
import { ago, exact, percent } from "../format";
import { useNow } from "../polling";
import { palette } from "../states";

/** A state in Airflow's colour of it. */
export function StateBadge({ state, text }: { state: string; text: string }) {
  return <Pill colours={palette(state)} text={text} />;
}

/** Text beside a dot of a colour: it is read as well on every colour, and without seeing any. */
export function Pill({ colours, text }: { colours: string; text: string }) {
  return (
    <Badge bg={`${colours}.subtle`} color="fg" borderRadius="full" px={2} gap={1.5}>
      <Box as="span" boxSize="8px" flexShrink={0} borderRadius="full" bg={`${colours}.solid`} />
      {text}
    </Badge>
  );
}

/** How long ago; the exact time on hover. */
export function Moment({ at }: { at: string | null | undefined }) {
  const now = useNow();
  if (!at) {
    return <>–</>;
  }
  return (
    <time dateTime={at} title={exact(at)} style={{ whiteSpace: "nowrap" }}>
      {ago(at, now)}
    </time>
  );
}

/** A bar, with its share in figures. */
export function Bar({ share, state, label }: { share: number; state: string; label: string }) {
  return (
    <HStack gap={2} minW="7rem">
      <Progress.Root
        value={Math.min(100, Math.max(0, share * 100))}
        size="sm"
        flex="1"
        colorPalette={palette(state)}
        aria-label={label}
      >
        <Progress.Track borderRadius="full">
          <Progress.Range />
        </Progress.Track>
      </Progress.Root>
      <Text fontSize="xs" minW="2.6rem" textAlign="end" fontVariantNumeric="tabular-nums">
        {percent(share)}
      </Text>
    </HStack>
  );
}

/** The last speeds as a line. The figures stand beside it, so it is hidden from readers. */
export function Sparkline({ values }: { values: readonly number[] }) {
  if (values.length < 2 || values.every((value) => value === 0)) {
    return null;
  }
  const [width, height] = [56, 16];
  const most = Math.max(...values, 1);
  const points = values.map((value, at) => {
    const x = (at / (values.length - 1)) * width;
    return `${x.toFixed(1)},${(height - 1 - (value / most) * (height - 2)).toFixed(1)}`;
  });
  return (
    <Box asChild color="fg.info" display="inline-block">
      <svg width={width} height={height} aria-hidden="true">
        <title> </title>
        <polyline points={points.join(" ")} fill="none" stroke="currentColor" strokeWidth="1.5" />
      </svg>
    </Box>
  );
}

/** A label over its value. */
export function Fact({ label, children }: { label: string; children: React.ReactNode }) {
  return (
    <Box minW={0}>
      <Text as="dt" fontSize="xs" color="fg.muted">
        {label}
      </Text>
      <Box as="dd" m={0} fontVariantNumeric="tabular-nums" overflowWrap="anywhere">
        {children}
      </Box>
    </Box>
  );
}
