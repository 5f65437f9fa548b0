/** Archives that were restored to see whether they can be, and those that nobody has tried. */

import { Box, Table as Chakra, Flex, Text } from "@chakra-ui/react";
import { places } from "../address";
import { address } from "../api";
import { count, duration, exact } from "../format";
import { type Filter, List, useList } from "../parts/List";
import { Card, To } from "../parts/layout";
import { Trouble } from "../parts/States";
import type { Column } from "../parts/Table";
import { Moment, StateBadge } from "../parts/values";
import { usePolled } from "../polling";
import type { DrillLine, TriedLine } from "../shapes";
import { words } from "../words";
import { Download, every, PERIOD, periodOf } from "./period";

const text = words.reports.drills;
const titles = text.columns;
const EVERY = 30_000;
const ROUTE = "reports/drills";
const FILTERS: readonly Filter[] = [
  ...PERIOD,
  {
    kind: "choice",
    name: "failed",
    label: text.result,
    any: text.any,
    options: { true: text.failedOnly },
  },
];

const columns: readonly Column<DrillLine>[] = [
  {
    id: "drill",
    title: titles.drill,
    cell: (one) => <Named name={<To to={places.run(one.run)}>{one.task}</To>} under={one.job} />,
  },
  { id: "at", title: titles.at, cell: (one) => <Moment at={one.began_at} /> },
  {
    id: "archive",
    title: titles.archive,
    cell: (one) => (
      <Named
        name={`${one.of_task} / ${one.of_job}`}
        under={one.tried === null ? text.none : <To to={places.run(one.tried)}>{one.tried}</To>}
      />
    ),
  },
  {
    id: "sample",
    title: titles.sample,
    cell: (one) => (one.tried === null ? "–" : sample(one)),
  },
  {
    id: "restored",
    title: titles.restored,
    numeric: true,
    cell: (one) => count(one.rows_restored),
  },
  {
    id: "compared",
    title: titles.compared,
    numeric: true,
    cell: (one) => count(one.rows_compared),
  },
  {
    id: "different",
    title: titles.different,
    numeric: true,
    cell: (one) => <Wrong number={one.rows_different} />,
  },
  {
    id: "duration",
    title: titles.duration,
    numeric: true,
    cell: (one) => duration(one.seconds),
  },
  {
    id: "result",
    title: titles.result,
    cell: (one) => <StateBadge state={one.result} text={text.results[one.result]} />,
  },
];

const whichColumns: readonly Column<TriedLine>[] = [
  {
    id: "job",
    title: words.reports.columns.task,
    cell: (one) => <Named name={one.task} under={one.job} />,
  },
  { id: "archives", title: titles.archives, numeric: true, cell: (one) => count(one.archives) },
  { id: "never", title: titles.never, numeric: true, cell: (one) => count(one.never) },
  {
    id: "failing",
    title: titles.failing,
    numeric: true,
    cell: (one) => <Wrong number={one.failing} />,
  },
  { id: "last", title: titles.last, cell: (one) => <Moment at={one.last_at} /> },
  {
    id: "longest",
    title: titles.longest,
    cell: (one) => <To to={places.run(one.longest)}>{one.longest}</To>,
  },
  { id: "since", title: titles.since, cell: (one) => <Moment at={one.longest_since} /> },
];

export function Drills() {
  const list = useList<DrillLine>({ route: ROUTE, filters: FILTERS, every: EVERY });
  return (
    <>
      <List
        list={list}
        what={words.reports.what}
        label={words.reports.reports.drills}
        columns={columns}
        rowKey={(one) => JSON.stringify([one.run, one.job])}
        under={under}
        empty={{ title: text.nothing, step: text.nothingStep }}
        filtered={list.state.filter("failed") !== ""}
        beside={<Download file="dsp-drills" lines={async () => lines(await every(ROUTE, list))} />}
      />
      <Which asked={periodOf(list.state)} />
    </>
  );
}

/** By job: what of its archives was tried. */
function Which({ asked }: { asked: ReturnType<typeof periodOf> }) {
  const which = usePolled<TriedLine[]>(address("reports/tried", asked), EVERY);
  const found = which.data ?? [];
  return (
    <Box mt={6}>
      {which.problem && <Trouble problem={which.problem} at={which.at} retry={which.reload} />}
      {which.data && (
        <Card title={text.which}>
          <Flex align="baseline" justify="space-between" gap={3} wrap="wrap">
            <Text fontSize="xs" color="fg.muted">
              {found.length === 0 ? text.noArchives : text.whichTitle}
            </Text>
            {found.length > 0 && (
              <Download file="dsp-archives-tried" lines={async () => whichLines(found)} />
            )}
          </Flex>
          {found.length > 0 && <WhichTable found={found} />}
        </Card>
      )}
    </Box>
  );
}

function WhichTable({ found }: { found: readonly TriedLine[] }) {
  return (
    <Box overflowX="auto">
      <Chakra.Root size="sm" aria-label={text.which}>
        <Chakra.Header>
          <Chakra.Row>
            {whichColumns.map((column) => (
              <Chakra.ColumnHeader key={column.id} textAlign={column.numeric ? "end" : "start"}>
                {column.title}
              </Chakra.ColumnHeader>
            ))}
          </Chakra.Row>
        </Chakra.Header>
        <Chakra.Body>
          {found.map((one) => (
            <Chakra.Row key={JSON.stringify([one.task, one.job])}>
              {whichColumns.map((column) => (
                <Chakra.Cell key={column.id} textAlign={column.numeric ? "end" : "start"}>
                  {column.cell(one)}
                </Chakra.Cell>
              ))}
            </Chakra.Row>
          ))}
        </Chakra.Body>
      </Chakra.Root>
    </Box>
  );
}

/** What is wrong stands under its drill, over the whole width. */
function under(one: DrillLine) {
  const left = one.result === "working" ? null : one.left;
  if (one.error === null && left === null) {
    return null;
  }
  return (
    <Box
      fontSize="xs"
      overflowWrap="anywhere"
      ps={3}
      borderStartWidth="3px"
      borderStartColor={one.error === null ? "transparent" : "failed.solid"}
    >
      {one.error !== null && (
        <Text color="red.fg" lineClamp={3} title={one.error}>
          {one.error}
        </Text>
      )}
      {one.next_step !== null && (
        <Text mt={1}>
          <strong>{words.run.nextStep}</strong> {one.next_step}
        </Text>
      )}
      {left !== null && (
        <Text mt={1} color="fg.muted">
          {text.left(left)}
        </Text>
      )}
    </Box>
  );
}

function Named({ name, under }: { name: React.ReactNode; under: React.ReactNode }) {
  return (
    <>
      <Text overflowWrap="anywhere">{name}</Text>
      <Text fontSize="xs" color="fg.muted" overflowWrap="anywhere">
        {under}
      </Text>
    </>
  );
}

/** A figure that should be nought. */
function Wrong({ number }: { number: DrillLine["rows_different"] }) {
  const wrong = Number(number) > 0;
  return (
    <Text as="span" {...(wrong && { color: "red.fg", fontWeight: "bold" })}>
      {count(number)}
    </Text>
  );
}

function sample(one: DrillLine): string {
  return text.sample(count(one.batches_tried), count(one.batches_archived));
}

function lines(found: readonly DrillLine[]) {
  return [
    [
      titles.drill,
      words.reports.columns.job,
      words.reports.columns.run,
      titles.at,
      titles.ofTask,
      titles.ofJob,
      titles.tried,
      titles.batches,
      titles.sample,
      titles.restored,
      titles.compared,
      titles.different,
      titles.seconds,
      titles.result,
      titles.left,
      titles.error,
    ],
    ...found.map((one) => [
      one.task,
      one.job,
      one.run,
      exact(one.began_at),
      one.of_task,
      one.of_job,
      one.tried,
      one.batches,
      one.tried === null ? null : sample(one),
      one.rows_restored,
      one.rows_compared,
      one.rows_different,
      one.seconds,
      text.results[one.result],
      one.left,
      one.error,
    ]),
  ];
}

function whichLines(found: readonly TriedLine[]) {
  return [
    [
      words.reports.columns.task,
      words.reports.columns.job,
      titles.archives,
      titles.never,
      titles.failing,
      titles.last,
      titles.longest,
      titles.since,
    ],
    ...found.map((one) => [
      one.task,
      one.job,
      one.archives,
      one.never,
      one.failing,
      one.last_at === null ? null : exact(one.last_at),
      one.longest,
      exact(one.longest_since),
    ]),
  ];
}
