/** Bars for days, and bands from sources to targets. Their figures are in titles and labels. */

import { Box, Text } from "@chakra-ui/react";
import { bytes, count } from "../format";
import type { Day, Flow } from "../shapes";
import { words } from "../words";
import { picture } from "./flow";

const WIDE = 560;
const HIGH = 150;
/** For the figure above the highest bar. */
const TOP = 18;

interface Total {
  day: string;
  rows: number;
  purged: number;
  bytes: number;
}

/** Each day of the period once: a day may be told by several kinds of jobs, or not at all. Pure. */
export function everyDay(days: readonly Day[], from: number, until: number): Total[] {
  const found = new Map<string, Total>();
  for (let at = from; at <= until; at += 86_400_000) {
    const day = new Date(at).toISOString().slice(0, 10);
    found.set(day, { day, rows: 0, purged: 0, bytes: 0 });
  }
  for (const one of days) {
    const total = found.get(one.day) ?? { day: one.day, rows: 0, purged: 0, bytes: 0 };
    total.rows += Number(one.rows_copied);
    total.purged += Number(one.rows_purged);
    total.bytes += Number(one.bytes);
    found.set(one.day, total);
  }
  return [...found.values()].sort((a, b) => a.day.localeCompare(b.day));
}

export function Bars({ days }: { days: readonly Total[] }) {
  const most = Math.max(1, ...days.map((one) => one.rows));
  const step = WIDE / Math.max(1, days.length);
  return (
    <Box color="fg.info">
      <svg
        viewBox={`0 -${TOP} ${WIDE} ${HIGH + TOP + 22}`}
        width="100%"
        role="img"
        aria-label={words.home.days}
        style={{ maxHeight: "14rem" }}
      >
        {days.map((one, at) => {
          const height = one.rows === 0 ? 0 : Math.max(2, (one.rows / most) * HIGH);
          const title = words.home.dayTitle(
            one.day,
            count(one.rows),
            count(one.purged),
            bytes(one.bytes),
          );
          return (
            <g key={one.day}>
              <title>{title}</title>
              <rect x={at * step} y={0} width={step} height={HIGH} fill="transparent" />
              <rect
                x={at * step + step * 0.15}
                y={HIGH - height}
                width={Math.min(48, step * 0.7)}
                height={height}
                rx={2}
                fill="currentColor"
              />
            </g>
          );
        })}
        <line x1={0} x2={WIDE} y1={HIGH} y2={HIGH} stroke="currentColor" strokeOpacity={0.4} />
        <Label x={0} y={HIGH + 16} anchor="start" text={days[0]?.day ?? ""} />
        <Label x={WIDE} y={HIGH + 16} anchor="end" text={days.at(-1)?.day ?? ""} />
        <Label x={WIDE} y={-5} anchor="end" text={words.home.most(count(most))} />
      </svg>
    </Box>
  );
}

export function Flows({ flows }: { flows: readonly Flow[] }) {
  const drawn = picture(flows, HIGH);
  const [left, right] = [170, WIDE - 170];
  const half = (left + right) / 2;
  return (
    <Box color="fg.info">
      <svg
        viewBox={`0 -4 ${WIDE} ${drawn.height + 8}`}
        width="100%"
        role="img"
        aria-label={words.home.flow}
        style={{ maxHeight: "22rem" }}
      >
        {drawn.bands.map(({ flow, from, to, height }) => (
          <path
            key={`${flow.source} ${flow.target}`}
            d={
              `M${left},${from} C${half},${from} ${half},${to} ${right},${to}` +
              `v${height} C${half},${to + height} ${half},${from + height} ${left},${from + height}Z`
            }
            fill="currentColor"
            fillOpacity={0.35}
          >
            <title>
              {words.home.flowTitle(flow.source, flow.target, count(flow.rows), bytes(flow.bytes))}
            </title>
          </path>
        ))}
        {drawn.sources.map((one) => (
          <g key={one.name}>
            <rect x={left - 6} y={one.y} width={6} height={one.height} fill="currentColor" />
            <Label x={left - 12} y={one.y + one.height / 2 + 4} anchor="end" text={one.name} />
          </g>
        ))}
        {drawn.targets.map((one) => (
          <g key={one.name}>
            <rect x={right} y={one.y} width={6} height={one.height} fill="currentColor" />
            <Label x={right + 12} y={one.y + one.height / 2 + 4} anchor="start" text={one.name} />
          </g>
        ))}
      </svg>
    </Box>
  );
}

interface LabelProps {
  x: number;
  y: number;
  anchor: "start" | "end";
  text: string;
}

function Label({ x, y, anchor, text }: LabelProps) {
  return (
    <Text asChild fill="fg.muted" fontSize="12px">
      <text x={x} y={y} textAnchor={anchor}>
        {text.length > 22 ? `${text.slice(0, 21)}…` : text}
        <title>{text}</title>
      </text>
    </Text>
  );
}
