/** The table of runs: each opens into its jobs, and those lead to their batches. */

import { Box, HStack, Stack, Text } from "@chakra-ui/react";
import type { ReactNode } from "react";
import { places } from "../address";
import { bytes, count, duration } from "../format";
import { type Filter, List, type Marks, Opener, useList } from "../parts/List";
import { To } from "../parts/layout";
import type { Column } from "../parts/Table";
import { Bar, Moment, Sparkline, StateBadge } from "../parts/values";
import { IDLE, LIVE } from "../polling";
import type { RunLine, Tab } from "../shapes";
import { ended } from "../states";
import { words } from "../words";
import { Check, Jobs, SourceData, Strategy } from "./Jobs";
import { type Speeds, useSpeeds } from "./speeds";
import { totals } from "./totals";

const titles = words.monitoring.columns;
const FILTERS: readonly Filter[] = [
  { kind: "text", name: "name", label: words.table.nameFilter },
  { kind: "day", name: "since", label: words.table.since },
  { kind: "day", name: "until", label: words.table.until, end: true },
];

interface RunsProps {
  /** How they stand; without it all of them. */
  tab?: Tab | undefined;
  /** Of this type alone. */
  type?: string;
  /** Of this DAG alone. */
  dag?: string;
}

export function Runs({ tab, type, dag }: RunsProps) {
  const list = useList<RunLine>({
    route: "runs",
    query: { tab, type, dag },
    filters: FILTERS,
    sort: "created_at",
    every: rhythmOf,
  });
  const speeds = useSpeeds();
  const { at } = list.rows;
  return (
    <List
      list={list}
      what={words.monitoring.runs}
      label={tab ? words.monitoring.tabs[tab] : words.monitoring.runs}
      columns={columnsOf(tab, { opened: list.opened, speeds, at })}
      rowKey={(run) => run.id}
      below={(run) => <Jobs run={run} at={at} speeds={speeds} />}
      empty={{
        title: words.monitoring.empty[tab ?? "completed"],
        step: words.monitoring.emptyStep[tab ?? "completed"],
      }}
    />
  );
}

/** Runs that go on are watched. */
function rhythmOf(runs: readonly RunLine[]): number {
  return runs.some((run) => !ended(run.state)) ? LIVE : IDLE / 2;
}

interface Shown {
  opened: Marks;
  speeds: Speeds;
  at: number | undefined;
}

function columnsOf(tab: Tab | undefined, shown: Shown): Column<RunLine>[] {
  const goesOn = tab === "in_progress";
  const all: (Column<RunLine> | false)[] = [
    { id: "name", title: titles.name, sort: "task", cell: (run) => <Name run={run} {...shown} /> },
    {
      id: "state",
      title: titles.state,
      sort: "state",
      cell: (run) => <RunState run={run} />,
    },
    (tab === "exception" || tab === undefined) && {
      id: "error",
      title: titles.error,
      cell: (run) => <ErrorAndStep run={run} />,
    },
    { id: "strategy", title: titles.strategy, cell: (run) => <OfJobs run={run} what="strategy" /> },
    {
      id: "started",
      title: titles.started,
      sort: "started_at",
      cell: (run) => <Moment at={run.started_at} />,
    },
    !goesOn && {
      id: "ended",
      title: titles.ended,
      sort: "ended_at",
      cell: (run) => <Moment at={run.ended_at} />,
    },
    {
      id: "duration",
      title: titles.duration,
      numeric: true,
      cell: (run) => duration(run.seconds),
    },
    {
      id: "progress",
      title: titles.progress,
      cell: (run) => (
        <Bar share={run.progress} state={run.state} label={`${run.title}: ${titles.progress}`} />
      ),
    },
    {
      id: "rows",
      title: titles.rows,
      numeric: true,
      cell: (run) => {
        const { rows, planned } = totals(run);
        return `${count(rows)} / ${count(planned)}`;
      },
    },
    {
      id: "speed",
      title: titles.speed,
      numeric: true,
      cell: (run) => <Speed run={run} {...shown} />,
    },
    (goesOn || tab === undefined) && {
      id: "eta",
      title: titles.eta,
      cell: (run) => <Moment at={totals(run).eta} />,
    },
    {
      id: "bytes",
      title: titles.bytes,
      numeric: true,
      cell: (run) => bytes(totals(run).bytes),
    },
    { id: "check", title: titles.check, cell: (run) => <OfJobs run={run} what="check" /> },
    { id: "source", title: titles.sourceData, cell: (run) => <OfJobs run={run} what="source" /> },
    { id: "filter", title: titles.filter, cell: (run) => <OfJobs run={run} what="filter" /> },
  ];
  return all.filter((one) => one !== false);
}

function Name({ run, opened }: { run: RunLine } & Shown) {
  return (
    <Box display="flex" gap={1} minW="12rem">
      <Opener
        opened={opened}
        row={run.id}
        label={{ open: words.table.open(run.title), close: words.table.close(run.title) }}
      />
      <Box minW={0}>
        <To to={places.run(run.id)}>{run.title}</To>
        <Text fontSize="xs" color="fg.muted" overflowWrap="anywhere">
          {run.id}
          {run.attempt > 1 && `, ${words.monitoring.attempt(run.attempt)}`}
          {run.triggered_by && `, ${words.monitoring.by(run.triggered_by)}`}
        </Text>
      </Box>
    </Box>
  );
}

export function RunState({ run }: { run: RunLine }) {
  const stopping = run.stop_requested && (run.state === "running" || run.state === "planned");
  return (
    <HStack gap={1} wrap="wrap">
      <StateBadge
        state={stopping ? "terminated" : run.state}
        text={stopping ? words.monitoring.stopping : words.states[run.state]}
      />
      {run.rollback && (
        <StateBadge
          state={run.rollback === "begun" ? "purging" : "disabled"}
          text={words.monitoring.rollbacks[run.rollback]}
        />
      )}
    </HStack>
  );
}

function ErrorAndStep({ run }: { run: RunLine }) {
  return (
    <Box minW="16rem" maxW="28rem" fontSize="xs">
      <Text color="red.fg" lineClamp={2} title={run.error ?? ""} overflowWrap="anywhere">
        {run.error ?? "–"}
      </Text>
      {run.next_step && (
        <Text mt={1} overflowWrap="anywhere">
          <strong>{words.run.nextStep}</strong> {run.next_step}
        </Text>
      )}
    </Box>
  );
}

function Speed({ run, speeds, at }: { run: RunLine } & Shown) {
  const { rows, speed } = totals(run);
  return (
    <>
      <Sparkline values={speeds(`${run.id} ${run.attempt}`, rows, at)} /> {count(speed)}
    </>
  );
}

/** What only jobs have: of one job as it is, of several that there are several. */
function OfJobs({ run, what }: { run: RunLine; what: "strategy" | "check" | "source" | "filter" }) {
  const [first] = run.jobs;
  if (first === undefined) {
    return <>–</>;
  }
  const show: Record<typeof what, () => ReactNode> = {
    strategy: () => <Strategy job={first} />,
    check: () => <Check job={first} />,
    source: () => <SourceData job={first} />,
    filter: () => (
      <Text fontSize="xs" fontFamily="mono" maxW="14rem" lineClamp={2} title={first.filter ?? ""}>
        {first.filter ?? words.monitoring.all}
      </Text>
    ),
  };
  if (run.jobs.length === 1) {
    return show[what]();
  }
  const { source, different } = totals(run);
  return (
    <Stack gap={0}>
      <Text color="fg.muted">{words.monitoring.jobs(count(run.jobs.length))}</Text>
      {what === "source" && <Text fontSize="xs">{words.monitoring.sourceData[source]}</Text>}
      {what === "check" && Number(different) > 0 && (
        <Text fontSize="xs" color="red.fg">
          {words.monitoring.different(count(different))}
        </Text>
      )}
    </Stack>
  );
}
