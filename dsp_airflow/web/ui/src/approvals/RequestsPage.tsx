/** Requests for approval: those that wait for me, my own, and all. */

import { Text } from "@chakra-ui/react";
import { Navigate, useParams } from "react-router-dom";
import { places, useListState } from "../address";
import { address, type Page } from "../api";
import { bytes, count } from "../format";
import { ChoiceFilter, DayFilter, dayStart, Filters, TextFilter } from "../parts/Filters";
import { Tabs, Title, To } from "../parts/layout";
import { type Column, Table } from "../parts/Table";
import { Moment, StateBadge } from "../parts/values";
import { usePolled } from "../polling";
import type { RequestLine } from "../shapes";
import { words } from "../words";

type List = keyof typeof words.approvals.lists;

const LISTS = Object.keys(words.approvals.lists) as List[];
const WHOSE: Readonly<Record<List, string>> = {
  waiting: "waiting-for-me",
  mine: "mine",
  all: "all",
};
const FILTERS = ["state", "type", "task", "since", "until"] as const;

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

function Requests({ shown }: { shown: List }) {
  const list = useListState("created_at");
  const { columns: titles } = words.approvals;
  const rows = usePolled<Page<RequestLine>>(
    address("requests", {
      whose: WHOSE[shown],
      state: list.filter("state"),
      type: list.filter("type"),
      task: list.filter("task"),
      since: dayStart(list.filter("since")),
      until: dayStart(list.filter("until"), 1),
      limit: list.limit,
      offset: list.offset,
    }),
  );
  const columns: Column<RequestLine>[] = [
    {
      id: "title",
      title: titles.title,
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
      cell: (one) => <StateBadge state={one.state} text={words.requestStates[one.state]} />,
    },
    {
      id: "type",
      title: titles.type,
      cell: (one) => words.types[one.task_type] ?? one.task_type,
    },
    { id: "requester", title: titles.requester, cell: (one) => one.requester },
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
    { id: "created", title: titles.created, cell: (one) => <Moment at={one.created_at} /> },
    {
      id: "until",
      title: titles.until,
      cell: (one) => <Moment at={one.ended_at ? null : one.until} />,
    },
  ];
  const filters = shown === "waiting" ? [] : FILTERS;
  return (
    <>
      {shown !== "waiting" && (
        <Filters list={list} names={FILTERS}>
          <TextFilter list={list} name="task" label={words.approvals.task} />
          <ChoiceFilter
            list={list}
            name="state"
            label={titles.state}
            any={words.approvals.anyState}
            options={words.requestStates}
          />
          <ChoiceFilter
            list={list}
            name="type"
            label={titles.type}
            any={words.approvals.anyType}
            options={words.types}
          />
          <DayFilter list={list} name="since" label={words.table.since} />
          <DayFilter list={list} name="until" label={words.table.until} />
        </Filters>
      )}
      <Table
        what={words.approvals.requests}
        label={words.approvals.lists[shown]}
        columns={columns}
        rows={rows}
        list={list}
        rowKey={(one) => one.id}
        empty={{ title: words.approvals.empty[shown], step: words.approvals.emptyStep[shown] }}
        filtered={filters.some((name) => list.filter(name) !== "")}
      />
    </>
  );
}
