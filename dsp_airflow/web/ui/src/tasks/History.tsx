/** What a task said before, and what was decided about it. */

import { Box, Code, Text } from "@chakra-ui/react";
import { places } from "../address";
import { path } from "../api";
import { count } from "../format";
import { Diff } from "../parts/Diff";
import { List, Opener, useList } from "../parts/List";
import { To } from "../parts/layout";
import type { Column } from "../parts/Table";
import { Moment, StateBadge } from "../parts/values";
import type { DefinitionLine, RequestLine } from "../shapes";
import { words } from "../words";

const text = words.task;
const EVERY = 10_000;

export function Definitions({ task }: { task: string }) {
  const list = useList<DefinitionLine>({
    route: path("tasks", task, "definitions"),
    every: EVERY,
  });
  const titles = text.definitions;
  const columns: Column<DefinitionLine>[] = [
    {
      id: "digest",
      title: titles.digest,
      cell: (one) => (
        <Box display="flex" gap={1}>
          <Opener
            opened={list.opened}
            row={one.digest}
            label={{ open: titles.open, close: titles.close }}
          />
          <Code fontSize="xs" title={one.digest}>
            {one.digest.slice(0, 12)}
          </Code>
        </Box>
      ),
    },
    { id: "first", title: titles.first, cell: (one) => <Moment at={one.first_at} /> },
    { id: "last", title: titles.last, cell: (one) => <Moment at={one.last_at} /> },
    { id: "runs", title: titles.runs, numeric: true, cell: (one) => count(one.runs) },
    {
      id: "run",
      title: titles.run,
      cell: (one) => <To to={places.run(one.run)}>{one.run}</To>,
    },
  ];
  return (
    <List
      list={list}
      what={text.parts.definitions}
      label={text.parts.definitions}
      columns={columns}
      rowKey={(one) => one.digest}
      below={(one) =>
        one.changes === null ? (
          <Text color="fg.muted">{titles.none}</Text>
        ) : (
          <Diff lines={one.changes} />
        )
      }
      empty={{ title: text.noRuns, step: words.home.nothingStep }}
    />
  );
}

export function Approvals({ task }: { task: string }) {
  const list = useList<RequestLine>({
    route: "requests",
    query: { of: task },
    sort: "created_at",
    every: EVERY,
  });
  const titles = words.approvals.columns;
  const columns: Column<RequestLine>[] = [
    {
      id: "title",
      title: titles.title,
      cell: (one) => <To to={places.request(one.id)}>{one.id}</To>,
    },
    {
      id: "type",
      title: titles.type,
      cell: (one) => words.types[one.task_type] ?? one.task_type,
    },
    {
      id: "state",
      title: titles.state,
      sort: "state",
      cell: (one) => <StateBadge state={one.state} text={words.requestStates[one.state]} />,
    },
    { id: "requester", title: titles.requester, sort: "requester", cell: (one) => one.requester },
    { id: "process", title: titles.process, cell: (one) => one.process },
    { id: "reason", title: text.said, cell: (one) => one.reason ?? "–" },
    {
      id: "created",
      title: titles.created,
      sort: "created_at",
      cell: (one) => <Moment at={one.created_at} />,
    },
  ];
  return (
    <List
      list={list}
      what={words.approvals.requests}
      label={text.parts.approvals}
      columns={columns}
      rowKey={(one) => one.id}
      empty={{ title: text.noApprovals, step: words.approvals.emptyStep.all }}
    />
  );
}
