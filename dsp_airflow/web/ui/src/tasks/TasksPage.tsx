/** The task files: what each says, and what is wrong with it. */

import { Box, Button, Text } from "@chakra-ui/react";
import { Link } from "react-router-dom";
import { places } from "../address";
import { type Filter, List, useList } from "../parts/List";
import { Title, To } from "../parts/layout";
import { Problems } from "../parts/Problems";
import type { Column } from "../parts/Table";
import { LAST, FILTERS as OF_TASKS, OWNER, STATE, TYPES } from "../scheduling/columns";
import type { TaskLine } from "../shapes";
import { words } from "../words";

const text = words.tasks;
const titles = words.scheduling.columns;
const EVERY = 10_000;
const FILTERS: readonly Filter[] = [
  ...OF_TASKS,
  { kind: "choice", name: "broken", label: text.file, any: text.anyFile, options: text.files },
];

export function TasksPage() {
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
      cell: (task) => (
        <>
          <To to={places.task(task.name)}>{task.title}</To>
          {task.title !== task.name && (
            <Text fontSize="xs" color="fg.muted" overflowWrap="anywhere">
              {task.name}
            </Text>
          )}
        </>
      ),
    },
    {
      id: "file",
      title: text.file,
      cell: (task) => (
        <Box maxW="44rem">
          <Text fontFamily="mono" fontSize="xs" overflowWrap="anywhere">
            {task.file ?? text.noFile}
          </Text>
          {task.problems.length > 0 && <Problems problems={task.problems} />}
        </Box>
      ),
    },
    TYPES,
    OWNER,
    LAST,
    STATE,
  ];
  return (
    <>
      <Title
        actions={
          <Button asChild size="sm" colorPalette="brand">
            <Link to={places.newTask}>{text.create}</Link>
          </Button>
        }
      >
        {text.title}
      </Title>
      <List
        list={list}
        what={words.scheduling.tasks}
        label={text.title}
        columns={columns}
        rowKey={(task) => task.name}
        empty={{ title: words.scheduling.empty, step: text.emptyStep }}
      />
    </>
  );
}
