/** Tasks: when they run, whether they may, and running one now. */

import {
  Box,
  Button,
  Table as Chakra,
  HStack,
  IconButton,
  List,
  Stack,
  Text,
} from "@chakra-ui/react";
import { useState } from "react";
import { places, useListState } from "../address";
import { address, type Page, path, send } from "../api";
import { Confirm } from "../parts/Confirm";
import { ChoiceFilter, Filters, TextFilter } from "../parts/Filters";
import { Title, To, Verbatim } from "../parts/layout";
import { Loading, Trouble } from "../parts/States";
import { type Column, Table } from "../parts/Table";
import { Moment, StateBadge } from "../parts/values";
import { usePolled } from "../polling";
import type { AirflowRun, RunState, Switched, TaskDetail, TaskLine } from "../shapes";
import { words } from "../words";
import { inWords } from "./cron";

const text = words.scheduling;
const FILTERS = ["name", "type", "state"] as const;
const EVERY = 5_000;

export function TasksPage() {
  const list = useListState("name", false);
  const [open, setOpen] = useState<string>();
  const rows = usePolled<Page<TaskLine>>(
    address("tasks", {
      name: list.filter("name"),
      type: list.filter("type"),
      state: list.filter("state"),
      limit: list.limit,
      offset: list.offset,
    }),
    EVERY,
  );
  const titles = text.columns;
  const columns: Column<TaskLine>[] = [
    {
      id: "name",
      title: titles.name,
      cell: (task) => (
        <Name
          task={task}
          open={open === task.name}
          toggle={() => setOpen(open === task.name ? undefined : task.name)}
        />
      ),
    },
    {
      id: "type",
      title: titles.type,
      cell: (task) => task.types.map((one) => words.types[one] ?? one).join(", ") || "–",
    },
    { id: "owner", title: titles.owner, cell: (task) => task.owner ?? "–" },
    { id: "schedule", title: titles.schedule, cell: (task) => <Schedule task={task} /> },
    { id: "next", title: titles.next, cell: (task) => <Moment at={task.next_at} /> },
    { id: "last", title: titles.last, cell: (task) => <LastRun task={task} /> },
    {
      id: "state",
      title: titles.state,
      cell: (task) => (
        <Stack gap={0} align="start">
          <StateBadge state={task.state} text={text.states[task.state]} />
          {task.paused === true && task.state === "enabled" && (
            <Text fontSize="xs" color="fg.muted">
              {text.paused}
            </Text>
          )}
        </Stack>
      ),
    },
  ];
  return (
    <>
      <Title>{text.title}</Title>
      <Filters list={list} names={FILTERS}>
        <TextFilter list={list} name="name" label={titles.name} />
        <ChoiceFilter
          list={list}
          name="type"
          label={titles.type}
          any={words.approvals.anyType}
          options={words.monitoring.kinds}
        />
        <ChoiceFilter
          list={list}
          name="state"
          label={titles.state}
          any={words.approvals.anyState}
          options={text.states}
        />
      </Filters>
      <Table
        what={text.tasks}
        label={text.title}
        columns={columns}
        rows={rows}
        list={list}
        rowKey={(task) => task.name}
        below={(task) =>
          open === task.name && (
            <Chakra.Row>
              <Chakra.Cell colSpan={columns.length} bg="bg.subtle" ps={10}>
                <Task name={task.name} done={rows.reload} />
              </Chakra.Cell>
            </Chakra.Row>
          )
        }
        empty={{ title: text.empty, step: text.emptyStep }}
        filtered={FILTERS.some((name) => list.filter(name) !== "")}
      />
    </>
  );
}

function Name({ task, open, toggle }: { task: TaskLine; open: boolean; toggle: () => void }) {
  return (
    <Box display="flex" gap={1} minW="12rem">
      <IconButton
        size="2xs"
        variant="ghost"
        aria-expanded={open}
        aria-label={(open ? text.close : text.open)(task.title)}
        onClick={toggle}
      >
        <Box as="span" transform={open ? "rotate(90deg)" : "none"} transition="transform 0.1s">
          ▸
        </Box>
      </IconButton>
      <Box minW={0}>
        <To to={places.airflowDag(task.name)}>{task.title}</To>
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

function Schedule({ task }: { task: TaskLine }) {
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

function LastRun({ task }: { task: TaskLine }) {
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
          {task.switch && (
            <Text overflowWrap="anywhere">
              {text.switched(text.states[task.switch.state], task.switch.changed_by ?? "–")}{" "}
              <Moment at={task.switch.changed_at} />
              {task.switch.reason && `: ${task.switch.reason}`}
            </Text>
          )}
          {task.problems.length > 0 && (
            <List.Root ps={4}>
              {task.problems.map((one) => (
                <List.Item key={`${one.where} ${one.message}`} color="red.fg">
                  <Text as="span" fontFamily="mono" fontSize="xs">
                    {one.where}
                  </Text>{" "}
                  {one.message} {one.suggestion}
                </List.Item>
              ))}
            </List.Root>
          )}
          {task.yaml !== null && (
            <details>
              <summary>{task.file}</summary>
              <Verbatim>{task.yaml}</Verbatim>
            </details>
          )}
        </>
      )}
    </Stack>
  );
}

type Act = "run" | "enable" | "disable" | "offline";

/** Running one is for Airflow to allow; switching it for who may steer the task. */
function Actions({ task, done }: { task: TaskDetail; done: () => void }) {
  const [asked, setAsked] = useState<Act>();
  const [said, setSaid] = useState<string>();
  const [began, setBegan] = useState<AirflowRun>();
  const offered: Act[] = task.state === "enabled" ? ["run"] : [];
  if (task.may_steer) {
    offered.push(
      ...(task.state === "enabled" ? (["disable"] as const) : (["enable"] as const)),
      ...(task.state === "offline" ? [] : (["offline"] as const)),
    );
  }
  const perform = async (act: Act, reason: string) => {
    const route = address(path("tasks", task.name, act));
    if (act === "run") {
      setBegan(await send<AirflowRun>("POST", route, {}));
    } else {
      const body = {
        reason: reason || null,
        ...(act === "enable" && { from_offline: task.state === "offline" }),
      };
      setSaid(text.inAirflow((await send<Switched>("POST", route, body)).airflow));
    }
    done();
  };
  return (
    <HStack wrap="wrap">
      {offered.map((act) => (
        <Button
          key={act}
          size="xs"
          variant="outline"
          {...(act === "offline" && { colorPalette: "red" })}
          onClick={() => setAsked(act)}
        >
          {text.actions[act]}
        </Button>
      ))}
      {began && (
        <Text>
          {words.job.began}{" "}
          <To to={places.airflowRun(began.dag_id, began.dag_run_id)}>{began.dag_run_id}</To>
        </Text>
      )}
      {said && <Text color="fg.muted">{said}</Text>}
      {asked && (
        <Confirm
          title={text.asks[asked](task.title)}
          consequence={text.consequences[asked]}
          action={text.actions[asked]}
          danger={asked === "offline"}
          {...(asked !== "run" && { comment: { label: words.confirm.reason, required: false } })}
          onConfirm={(reason) => perform(asked, reason)}
          onClose={() => setAsked(undefined)}
        />
      )}
    </HStack>
  );
}
