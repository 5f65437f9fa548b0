/** What each job did in a period. */

import { Text } from "@chakra-ui/react";
import { places } from "../address";
import { bytes, count, percent } from "../format";
import { type Filter, List, useList } from "../parts/List";
import { To } from "../parts/layout";
import type { Column } from "../parts/Table";
import type { JobReport } from "../shapes";
import { words } from "../words";
import { Download, every, PERIOD } from "./period";

const text = words.reports;
const titles = text.columns;
const EVERY = 30_000;
const ROUTE = "reports/jobs";
const FILTERS: readonly Filter[] = [...PERIOD, { kind: "text", name: "name", label: text.name }];

const columns: readonly Column<JobReport>[] = [
  {
    id: "task",
    title: titles.task,
    sort: "task",
    cell: (one) => (
      <>
        <To to={`${places.scheduling}?name=${encodeURIComponent(one.task)}`}>{one.task}</To>
        <Text fontSize="xs" color="fg.muted" overflowWrap="anywhere">
          {one.job}
        </Text>
      </>
    ),
  },
  { id: "type", title: titles.type, cell: (one) => words.types[one.type] ?? one.type },
  {
    id: "way",
    title: titles.way,
    cell: (one) => <Text overflowWrap="anywhere">{text.way(one.source, one.target)}</Text>,
  },
  {
    id: "runs",
    title: titles.runs,
    numeric: true,
    sort: "runs",
    cell: (one) => count(one.runs),
  },
  {
    id: "failed",
    title: titles.failed,
    numeric: true,
    sort: "failed",
    cell: (one) => count(one.failed),
  },
  {
    id: "success",
    title: titles.success,
    numeric: true,
    cell: (one) => {
      const share = success(one);
      return share === null ? "–" : percent(share);
    },
  },
  {
    id: "rows",
    title: titles.rows,
    numeric: true,
    sort: "rows",
    cell: (one) => count(one.rows_copied),
  },
  {
    id: "purged",
    title: titles.purged,
    numeric: true,
    cell: (one) => count(one.rows_purged),
  },
  {
    id: "bytes",
    title: titles.bytes,
    numeric: true,
    sort: "bytes",
    cell: (one) => bytes(one.bytes),
  },
  {
    id: "speed",
    title: titles.speed,
    numeric: true,
    sort: "speed",
    cell: (one) => count(one.rows_per_second),
  },
];

export function Jobs() {
  const list = useList<JobReport>({ route: ROUTE, filters: FILTERS, sort: "rows", every: EVERY });
  return (
    <List
      list={list}
      what={text.what}
      label={text.reports.jobs}
      columns={columns}
      rowKey={(one) => JSON.stringify([one.task, one.job, one.source, one.target, one.type])}
      empty={{ title: text.nothing, step: text.nothingStep }}
      filtered={list.state.filter("name") !== ""}
      beside={<Download file="dsp-jobs" lines={async () => lines(await every(ROUTE, list))} />}
    />
  );
}

/** Of the runs that have ended. */
function success(one: JobReport): number | null {
  const ended = Number(one.succeeded) + Number(one.failed);
  return ended === 0 ? null : Number(one.succeeded) / ended;
}

function lines(found: readonly JobReport[]) {
  return [
    [
      titles.task,
      titles.job,
      titles.type,
      titles.source,
      titles.target,
      titles.runs,
      titles.succeeded,
      titles.failed,
      titles.rows,
      titles.purged,
      titles.bytes,
      titles.speed,
    ],
    ...found.map((one) => [
      one.task,
      one.job,
      one.type,
      one.source,
      one.target,
      one.runs,
      one.succeeded,
      one.failed,
      one.rows_copied,
      one.rows_purged,
      one.bytes,
      one.rows_per_second,
    ]),
  ];
}
