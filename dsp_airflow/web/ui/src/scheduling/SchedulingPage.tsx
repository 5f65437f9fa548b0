/** Tasks: when they run, whether they may, and running one now. */

import { Box, Stack, Text } from "@chakra-ui/react";
import { places } from "../address";
import { address, path } from "../api";
import { List, type Marks, Opener, useList } from "../parts/List";
import { Title, To } from "../parts/layout";
import { Problems } from "../parts/Problems";
import { Loading, Trouble } from "../parts/States";
import type { Column } from "../parts/Table";
import { Moment } from "../parts/values";
import { usePolled } from "../polling";
import type { TaskDetail, TaskLine } from "../shapes";
import { Actions } from "../tasks/Actions";
import { words } from "../words";
import { FILTERS, LAST, OWNER, STATE, TYPES } from "./columns";
import { inWords } from "./cron";

const text = words.scheduling;
const titles = text.columns;
const EVERY = 5_000;
export function SchedulingPage() {
  const list = useList<TaskLine>({
    route: "tasks",
    filters: FILTERS,
    sort: "name",
    descending: false,
    every: EVERY,
  });
  const columns: Column<TaskLine>[] = [
    {
      id: "name",
      title: titles.name,
      sort: "name",
      cell: (task) => <Name task={task} opened={list.opened} />,
    },
    TYPES,
    OWNER,
    { id: "schedule", title: titles.schedule, cell: (task) => <Schedule task={task} /> },
    {
      id: "next",
      title: titles.next,
      sort: "next_at",
      cell: (task) => <Moment at={task.next_at} />,
    },
    LAST,
    STATE,
  ];
  return (
    <>
      <Title>{text.title}</Title>
      <List
        list={list}
        what={text.tasks}
        label={text.title}
        columns={columns}
        rowKey={(task) => task.name}
        below={(task) => <Task name={task.name} done={list.rows.reload} />}
        empty={{ title: text.empty, step: text.emptyStep }}
      />
    </>
  );
}

function Name({ task, opened }: { task: TaskLine; opened: Marks }) {
  return (
    <Box display="flex" gap={1} minW="12rem">
      <Opener
        opened={opened}
        row={task.name}
        label={{ open: text.open(task.title), close: text.close(task.title) }}
      />
      <Box minW={0}>
        <To to={places.task(task.name)}>{task.title}</To>
        {task.title !== task.name && (
          <Text fontSize="xs" color="fg.muted" overflowWrap="anywhere">
            {task.name}
          </Text>
        )}
        {task.problems.length > 0 && (
          <Text fontSize="xs" color="red.fg">
            {text.problems(task.problems.length)}
          </Text>
        )}
      </Box>
    </Box>
  );
}

export function Schedule({ task }: { task: TaskLine }) {
  const told = inWords(task.schedule);
  return (
    <Stack gap={0}>
      <Text>{told ?? (task.schedule || "–")}</Text>
      {told && (
        <Text fontSize="xs" color="fg.muted" fontFamily="mono">
          {task.schedule}
        </Text>
      )}
    </Stack>
  );
}

function Task({ name, done }: { name: string; done: () => void }) {
  const found = usePolled<TaskDetail>(address(path("tasks", name)), EVERY);
  const task = found.data;
  return (
    <Stack gap={3} py={1}>
      {found.problem && <Trouble problem={found.problem} at={found.at} retry={found.reload} />}
      {!task && !found.problem && <Loading what={text.task} />}
      {task && (
        <>
          <Actions
            task={task}
            done={() => {
              found.reload();
              done();
            }}
          />
          {task.description && <Text>{task.description}</Text>}
          <Switch task={task} />
          {task.problems.length > 0 && <Problems problems={task.problems} />}
        </>
      )}
    </Stack>
  );
}

/** Who said last whether it may run. */
export function Switch({ task }: { task: TaskDetail }) {
  return (
    task.switch && (
      <Text overflowWrap="anywhere">
        {text.switched(text.states[task.switch.state], task.switch.changed_by ?? "–")}{" "}
        <Moment at={task.switch.changed_at} />
        {task.switch.reason && `: ${task.switch.reason}`}
      </Text>
    )
  );
}
