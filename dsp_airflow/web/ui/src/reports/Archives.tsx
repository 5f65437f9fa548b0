/** What archives hold, and how that grew. */

import { useMemo } from "react";
import { useListState } from "../address";
import { address, type Page } from "../api";
import { everything } from "../csv";
import { bytes, count, sum } from "../format";
import { Card } from "../parts/layout";
import { type Column, Table } from "../parts/Table";
import { usePolled } from "../polling";
import type { ArchiveReport } from "../shapes";
import { words } from "../words";
import { Growth, LINES } from "./Growth";
import { daysOf, growth } from "./growth";
import { bounds, Period, periodOf } from "./period";

const text = words.reports;
const titles = text.columns;
const EVERY = 30_000;

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
  const list = useListState("bytes");
  const asked = periodOf(list);
  const rows = usePolled<Page<ArchiveReport>>(
    address("reports/archives", { ...asked, limit: list.limit, offset: list.offset }),
    EVERY,
  );
  const [since, until] = bounds(list, Date.now());
  const days = useMemo(() => daysOf(since, until), [since, until]);
  const lines = useMemo(
    () => growth((rows.data?.items ?? []).slice(0, LINES), days),
    [rows.data, days],
  );
  return (
    <>
      <Period
        list={list}
        file="dsp-archives"
        lines={async () =>
          linesOf(
            await everything<ArchiveReport>("reports/archives", asked, (most) =>
              text.tooMany(count(most)),
            ),
          )
        }
      />
      {lines.length > 0 && (
        <Card title={text.growth}>
          <Growth lines={lines} days={days} />
        </Card>
      )}
      <Table
        what={text.what}
        label={text.reports.archives}
        columns={columns}
        rows={rows}
        list={list}
        rowKey={(one) => JSON.stringify([one.source, one.target])}
        empty={{ title: text.noArchives, step: text.noArchivesStep }}
        filtered={false}
      />
    </>
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
