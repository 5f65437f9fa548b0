/** What archives hold, and how that grew. */

import { useMemo } from "react";
import { bytes, count, sum } from "../format";
import { List, useList } from "../parts/List";
import { Card } from "../parts/layout";
import type { Column } from "../parts/Table";
import type { ArchiveReport } from "../shapes";
import { words } from "../words";
import { Growth, LINES } from "./Growth";
import { daysOf, growth } from "./growth";
import { bounds, Download, every, PERIOD } from "./period";

const text = words.reports;
const titles = text.columns;
const EVERY = 30_000;
const ROUTE = "reports/archives";

const came = (one: ArchiveReport) => sum(one.days.map((day) => day.bytes));
const rowsCame = (one: ArchiveReport) => sum(one.days.map((day) => day.rows));
const whole = (one: ArchiveReport) => sum([one.bytes_before, came(one)]);

const columns: readonly Column<ArchiveReport>[] = [
  { id: "source", title: titles.source, cell: (one) => one.source },
  { id: "target", title: titles.target, cell: (one) => one.target },
  { id: "rows", title: titles.rowsCame, numeric: true, cell: (one) => count(rowsCame(one)) },
  {
    id: "before",
    title: titles.before,
    numeric: true,
    cell: (one) => bytes(one.bytes_before),
  },
  { id: "came", title: titles.came, numeric: true, cell: (one) => bytes(came(one)) },
  { id: "whole", title: titles.whole, numeric: true, cell: (one) => bytes(whole(one)) },
];

export function Archives() {
  const list = useList<ArchiveReport>({ route: ROUTE, filters: PERIOD, every: EVERY });
  const [since, until] = bounds(list.state, Date.now());
  const days = useMemo(() => daysOf(since, until), [since, until]);
  const lines = useMemo(
    () => growth((list.rows.data?.items ?? []).slice(0, LINES), days),
    [list.rows.data, days],
  );
  return (
    <List
      list={list}
      what={text.what}
      label={text.reports.archives}
      columns={columns}
      rowKey={(one) => JSON.stringify([one.source, one.target])}
      empty={{ title: text.noArchives, step: text.noArchivesStep }}
      filtered={false}
      beside={
        <Download file="dsp-archives" lines={async () => linesOf(await every(ROUTE, list))} />
      }
      above={
        lines.length > 0 && (
          <Card title={text.growth}>
            <Growth lines={lines} days={days} />
          </Card>
        )
      }
    />
  );
}

function linesOf(found: readonly ArchiveReport[]) {
  return [
    [titles.source, titles.target, titles.day, titles.rows, titles.bytes],
    ...found.flatMap((one) => [
      [one.source, one.target, titles.before, one.rows_before, one.bytes_before],
      ...one.days.map((day) => [one.source, one.target, day.day, day.rows, day.bytes]),
    ]),
  ];
}
