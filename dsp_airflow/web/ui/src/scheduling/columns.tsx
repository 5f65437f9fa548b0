/** What lists of tasks have in common: filters, and columns. */

import { HStack, Stack, Text } from "@chakra-ui/react";
import { places } from "../address";
import type { Filter } from "../parts/List";
import { To } from "../parts/layout";
import type { Column } from "../parts/Table";
import { Moment, StateBadge } from "../parts/values";
import type { RunState, TaskLine } from "../shapes";
import { words } from "../words";

const text = words.scheduling;
const titles = text.columns;
const { anyState, anyType } = words.approvals;

export const FILTERS: readonly Filter[] = [
  { kind: "text", name: "name", label: titles.name },
  {
    kind: "choice",
    name: "type",
    label: titles.type,
    any: anyType,
    options: words.monitoring.kinds,
  },
  { kind: "choice", name: "state", label: titles.state, any: anyState, options: text.states },
];

export const TYPES: Column<TaskLine> = { id: "type", title: titles.type, cell: typesOf };

export const OWNER: Column<TaskLine> = {
  id: "owner",
  title: titles.owner,
  cell: (task) => task.owner ?? "–",
};

export const LAST: Column<TaskLine> = {
  id: "last",
  title: titles.last,
  sort: "last_at",
  cell: (task) => <LastRun task={task} />,
};

export const STATE: Column<TaskLine> = {
  id: "state",
  title: titles.state,
  sort: "state",
  cell: (task) => <TaskState task={task} />,
};

export function typesOf(task: TaskLine): string {
  return task.types.map((one) => words.types[one] ?? one).join(", ") || "–";
}

export function TaskState({ task }: { task: TaskLine }) {
  return (
    <Stack gap={0} align="start">
      <StateBadge state={task.state} text={text.states[task.state]} />
      {task.paused === true && task.state === "enabled" && (
        <Text fontSize="xs" color="fg.muted">
          {text.paused}
        </Text>
      )}
    </Stack>
  );
}

export function LastRun({ task }: { task: TaskLine }) {
  if (task.last_run === null) {
    return <>–</>;
  }
  const state = (task.last_state ?? "planned") as RunState;
  return (
    <HStack>
      <StateBadge state={state} text={words.states[state]} />
      <To to={places.run(task.last_run)}>
        <Moment at={task.last_at} />
      </To>
    </HStack>
  );
}
