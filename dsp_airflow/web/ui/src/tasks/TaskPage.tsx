/** One task: its file with what is wrong with it, its plan, and what it said and did before. */

import { Code, Table, Text } from "@chakra-ui/react";
import { useMemo } from "react";
import { useParams } from "react-router-dom";
import { places } from "../address";
import { address, path } from "../api";
import { Card, Facts, Tabs, Title, To } from "../parts/layout";
import { Problems } from "../parts/Problems";
import { Empty, Loading, Trouble } from "../parts/States";
import { Fact, Moment, StateBadge } from "../parts/values";
import { linesWith, Yaml } from "../parts/Yaml";
import { usePolled } from "../polling";
import { LastRun, TaskState, typesOf } from "../scheduling/columns";
import { Schedule, Switch } from "../scheduling/SchedulingPage";
import type { TaskDetail } from "../shapes";
import { words } from "../words";
import { Actions } from "./Actions";
import { Approvals, Definitions } from "./History";
import { PlanPreview } from "./PlanPreview";

const text = words.task;
const EVERY = 5_000;

type Part = keyof typeof text.parts;

const PARTS = Object.keys(text.parts) as Part[];

export function TaskPage() {
  const { task = "", part } = useParams();
  return <Task key={task} name={task} part={PARTS.find((one) => one === part) ?? "file"} />;
}

function Task({ name, part }: { name: string; part: Part }) {
  const found = usePolled<TaskDetail>(address(path("tasks", name)), EVERY);
  const task = found.data;
  return (
    <>
      {found.problem && <Trouble problem={found.problem} at={found.at} retry={found.reload} />}
      {!task && !found.problem && <Loading what={words.scheduling.task} />}
      {task && (
        <>
          <Title
            beside={<TaskState task={task} />}
            under={
              <>
                <Code>{task.name}</Code> · <To to={places.airflowDag(task.name)}>{text.airflow}</To>
                {task.description && ` · ${task.description}`}
              </>
            }
            actions={<Actions task={task} done={found.reload} />}
          >
            {task.title}
          </Title>
          <Switch task={task} />
          <Card>
            <About task={task} />
          </Card>
          <Tabs
            label={task.title}
            tabs={PARTS.map((one) => ({
              to: places.task(name, one),
              text: text.parts[one],
              current: one === part,
            }))}
          />
          {part === "file" && <File task={task} />}
          {part === "plan" && <PlanPreview task={task} />}
          {part === "definitions" && <Definitions task={name} />}
          {part === "approvals" && <Approvals task={name} />}
          {part === "runs" && <Latest task={task} />}
        </>
      )}
    </>
  );
}

function About({ task }: { task: TaskDetail }) {
  const titles = words.scheduling.columns;
  return (
    <Facts>
      <Fact label={titles.type}>{typesOf(task)}</Fact>
      <Fact label={titles.owner}>{task.owner ?? "–"}</Fact>
      <Fact label={titles.schedule}>
        <Schedule task={task} />
      </Fact>
      <Fact label={titles.next}>
        <Moment at={task.next_at} />
      </Fact>
      <Fact label={titles.last}>
        <LastRun task={task} />
      </Fact>
    </Facts>
  );
}

function File({ task }: { task: TaskDetail }) {
  const marked = useMemo(() => linesWith(task.problems), [task.problems]);
  if (task.yaml === null) {
    return <Empty title={text.noFile} />;
  }
  return (
    <Card title={<Text fontFamily="mono">{task.file}</Text>}>
      {task.problems.length > 0 && (
        <>
          <Text fontWeight="medium">{words.scheduling.problems(task.problems.length)}</Text>
          <Problems problems={task.problems} />
          <Text color="fg.muted" my={2}>
            {text.mend(task.file ?? "")}
          </Text>
        </>
      )}
      <Yaml label={text.parts.file} source={task.yaml} marked={marked} />
    </Card>
  );
}

function Latest({ task }: { task: TaskDetail }) {
  const titles = words.monitoring.columns;
  if (task.runs.length === 0) {
    return <Empty title={text.noRuns} step={words.home.nothingStep} />;
  }
  return (
    <Card>
      <Table.Root size="sm" aria-label={text.parts.runs}>
        <Table.Header>
          <Table.Row>
            <Table.ColumnHeader>{titles.name}</Table.ColumnHeader>
            <Table.ColumnHeader>{titles.state}</Table.ColumnHeader>
            <Table.ColumnHeader>{titles.started}</Table.ColumnHeader>
            <Table.ColumnHeader>{titles.ended}</Table.ColumnHeader>
            <Table.ColumnHeader>{text.by}</Table.ColumnHeader>
          </Table.Row>
        </Table.Header>
        <Table.Body>
          {task.runs.map((run) => (
            <Table.Row key={run.id}>
              <Table.Cell>
                <To to={places.run(run.id)}>{run.id}</To>
              </Table.Cell>
              <Table.Cell>
                <StateBadge state={run.state} text={words.states[run.state]} />
              </Table.Cell>
              <Table.Cell>
                <Moment at={run.created_at} />
              </Table.Cell>
              <Table.Cell>
                <Moment at={run.ended_at} />
              </Table.Cell>
              <Table.Cell>{run.triggered_by ?? "–"}</Table.Cell>
            </Table.Row>
          ))}
        </Table.Body>
      </Table.Root>
    </Card>
  );
}
