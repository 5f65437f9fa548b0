/** Jobs that did not go as they should, and what to do. */

import { Box, Stack, Text } from "@chakra-ui/react";
import { places } from "../address";
import { count, exact } from "../format";
import { List, useList } from "../parts/List";
import { To } from "../parts/layout";
import type { Column } from "../parts/Table";
import type { AbnormalJob, Reason } from "../shapes";
import { words } from "../words";
import { Download, every, PERIOD } from "./period";

const text = words.reports;
const titles = text.columns;
const EVERY = 30_000;
const ROUTE = "reports/abnormal";

const columns: readonly Column<AbnormalJob>[] = [
  {
    id: "task",
    title: titles.task,
    cell: (one) => (
      <>
        <To to={places.run(one.run)}>{one.task}</To>
        <Text fontSize="xs" color="fg.muted" overflowWrap="anywhere">
          {one.job}
        </Text>
      </>
    ),
  },
  {
    id: "way",
    title: titles.way,
    cell: (one) => <Text overflowWrap="anywhere">{text.way(one.source, one.target)}</Text>,
  },
  { id: "runs", title: titles.runs, numeric: true, cell: (one) => count(one.runs) },
  {
    id: "reasons",
    title: titles.reasons,
    cell: (one) => (
      <Stack gap={0}>
        {one.reasons.map((reason) => (
          <Text key={reason}>{reasonText(one, reason)}</Text>
        ))}
      </Stack>
    ),
  },
  {
    id: "error",
    title: titles.error,
    cell: (one) => (
      <Box maxW="32rem" fontSize="xs" overflowWrap="anywhere">
        {one.error && (
          <Text color="red.fg" lineClamp={3} title={one.error}>
            {one.error}
          </Text>
        )}
        {one.next_step && (
          <Text mt={1}>
            <strong>{words.run.nextStep}</strong> {one.next_step}
          </Text>
        )}
      </Box>
    ),
  },
];

function reasonText(one: AbnormalJob, reason: Reason): string {
  const told: Record<Reason, () => string> = {
    failed: () => text.reasons.failed(count(one.failed)),
    terminated: () => text.reasons.terminated(count(one.terminated)),
    different: () => text.reasons.different(count(one.rows_different)),
    kept: () => text.reasons.kept(count(one.rows_kept)),
    silent: () => text.reasons.silent(one.silent_since === null ? "–" : exact(one.silent_since)),
    slow: () =>
      text.reasons.slow(count(one.last_rows_per_second), count(one.usual_rows_per_second)),
  };
  return told[reason]();
}

export function Abnormal() {
  const list = useList<AbnormalJob>({ route: ROUTE, filters: PERIOD, every: EVERY });
  return (
    <List
      list={list}
      what={text.what}
      label={text.reports.abnormal}
      columns={columns}
      rowKey={(one) => JSON.stringify([one.task, one.job, one.source, one.target, one.type])}
      empty={{ title: text.allWell }}
      filtered={false}
      beside={
        <Download file="dsp-abnormal-jobs" lines={async () => lines(await every(ROUTE, list))} />
      }
    />
  );
}

function lines(found: readonly AbnormalJob[]) {
  return [
    [
      titles.task,
      titles.job,
      titles.source,
      titles.target,
      titles.runs,
      titles.reasons,
      titles.different,
      titles.kept,
      titles.run,
      titles.error,
    ],
    ...found.map((one) => [
      one.task,
      one.job,
      one.source,
      one.target,
      one.runs,
      one.reasons.map((reason) => reasonText(one, reason)).join("; "),
      one.rows_different,
      one.rows_kept,
      one.run,
      one.error,
    ]),
  ];
}
