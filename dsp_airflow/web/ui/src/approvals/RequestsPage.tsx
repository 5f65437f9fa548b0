/** Requests for approval: those that wait for me, my own, and all. */

import { Text } from "@chakra-ui/react";
import { Navigate, useParams } from "react-router-dom";
import { places } from "../address";
import { bytes, count } from "../format";
import { type Filter, List, useList } from "../parts/List";
import { Tabs, Title, To } from "../parts/layout";
import type { Column } from "../parts/Table";
import { Moment, StateBadge } from "../parts/values";
import type { RequestLine } from "../shapes";
import { words } from "../words";

type Shown = keyof typeof words.approvals.lists;

const LISTS = Object.keys(words.approvals.lists) as Shown[];
const WHOSE: Readonly<Record<Shown, string>> = {
  waiting: "waiting-for-me",
  mine: "mine",
  all: "all",
};
const { columns: titles, anyState, anyType } = words.approvals;
const FILTERS: readonly Filter[] = [
  { kind: "text", name: "task", label: words.approvals.task },
  {
    kind: "choice",
    name: "state",
    label: titles.state,
    any: anyState,
    options: words.requestStates,
  },
  { kind: "choice", name: "type", label: titles.type, any: anyType, options: words.types },
  { kind: "day", name: "since", label: words.table.since },
  { kind: "day", name: "until", label: words.table.until, end: true },
];

export function RequestsPage() {
  const { list } = useParams();
  const shown = LISTS.find((one) => one === list);
  if (shown === undefined) {
    return <Navigate to={places.approvals()} replace />;
  }
  return (
    <>
      <Title>{words.approvals.title}</Title>
      <Tabs
        label={words.approvals.title}
        tabs={LISTS.map((one) => ({
          to: places.approvals(one),
          text: words.approvals.lists[one],
          current: one === shown,
        }))}
      />
      <Requests key={shown} shown={shown} />
    </>
  );
}

function Requests({ shown }: { shown: Shown }) {
  const waiting = shown === "waiting";
  const list = useList<RequestLine>({
    route: "requests",
    query: { whose: WHOSE[shown] },
    filters: waiting ? [] : FILTERS,
    sort: "created_at",
    // The clock runs on those that wait: the oldest comes first.
    descending: !waiting,
  });
  const columns: Column<RequestLine>[] = [
    {
      id: "title",
      title: titles.title,
      sort: "title",
      cell: (one) => (
        <>
          <To to={places.request(one.id)}>{one.title}</To>
          <Text fontSize="xs" color="fg.muted" overflowWrap="anywhere">
            {one.id}
          </Text>
        </>
      ),
    },
    {
      id: "state",
      title: titles.state,
      sort: "state",
      cell: (one) => <StateBadge state={one.state} text={words.requestStates[one.state]} />,
    },
    {
      id: "type",
      title: titles.type,
      sort: "task_type",
      cell: (one) => words.types[one.task_type] ?? one.task_type,
    },
    { id: "requester", title: titles.requester, sort: "requester", cell: (one) => one.requester },
    { id: "waits", title: titles.waits, cell: (one) => one.waits_for ?? "–" },
    {
      id: "process",
      title: titles.process,
      cell: (one) => (
        <>
          {one.process}
          <Text fontSize="xs" color="fg.muted">
            {words.request.level(one.level, one.level_name)}
          </Text>
        </>
      ),
    },
    { id: "rows", title: titles.rows, numeric: true, cell: (one) => count(one.rows) },
    { id: "bytes", title: titles.bytes, numeric: true, cell: (one) => bytes(one.bytes) },
    {
      id: "created",
      title: titles.created,
      sort: "created_at",
      cell: (one) => <Moment at={one.created_at} />,
    },
    {
      id: "until",
      title: titles.until,
      sort: "until",
      cell: (one) => <Moment at={one.ended_at ? null : one.until} />,
    },
  ];
  return (
    <List
      list={list}
      what={words.approvals.requests}
      label={words.approvals.lists[shown]}
      columns={columns}
      rowKey={(one) => one.id}
      empty={{ title: words.approvals.empty[shown], step: words.approvals.emptyStep[shown] }}
    />
  );
}
