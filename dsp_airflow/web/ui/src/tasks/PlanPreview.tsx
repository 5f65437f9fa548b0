/** What a run of a task would do, looked at in the databases when somebody asks. */

import { Box, Button, Code, List, Stack, Text } from "@chakra-ui/react";
import { useState } from "react";
import { address, Problem, problemFrom, send } from "../api";
import { bytes, count } from "../format";
import { Card, Facts, Verbatim } from "../parts/layout";
import { Loading, Trouble } from "../parts/States";
import { Types } from "../parts/Types";
import { Fact } from "../parts/values";
import type { JobPlan, TaskDetail, TaskPlan } from "../shapes";
import { words } from "../words";

const text = words.task.plan;

export function PlanPreview({ task }: { task: TaskDetail }) {
  const [found, setFound] = useState<TaskPlan | Problem | "busy">();
  const look = async () => {
    setFound("busy");
    try {
      setFound(await send<TaskPlan>("POST", address("plans"), { task: task.name }));
    } catch (error) {
      setFound(problemFrom(error));
    }
  };
  if (!task.may_steer) {
    return <Text color="fg.muted">{text.notYours(task.owner)}</Text>;
  }
  return (
    <>
      <Stack direction="row" align="center" mb={4}>
        <Button
          size="sm"
          variant="outline"
          loading={found === "busy"}
          disabled={task.problems.length > 0 || task.yaml === null}
          onClick={() => void look()}
        >
          {found === undefined ? text.look : text.again}
        </Button>
        <Text color="fg.muted">{text.hint}</Text>
      </Stack>
      {found === "busy" && <Loading what={text.what} />}
      {found instanceof Problem && <Trouble problem={found} title={words.problems.notDone} />}
      {found !== undefined && found !== "busy" && !(found instanceof Problem) && (
        <>
          {found.approval && (
            <Card title={words.pages.approvals}>
              {text.approval(found.approval.process, found.approval.level, found.approval.nodes)}
            </Card>
          )}
          {found.jobs.map((job) => (
            <Job key={job.name} job={job} />
          ))}
        </>
      )}
    </>
  );
}

function Job({ job }: { job: JobPlan }) {
  const { plan } = job;
  return (
    <Card title={job.name}>
      {job.error && (
        <Text color="red.fg" whiteSpace="pre-wrap" overflowWrap="anywhere" mb={3}>
          {job.error}
        </Text>
      )}
      {plan && (
        <Stack gap={3}>
          <Facts>
            <Fact label={words.approvals.columns.rows}>{count(plan.rows)}</Fact>
            <Fact label={words.approvals.columns.bytes}>{bytes(plan.bytes)}</Fact>
            <Fact label={words.job.strip}>{count(plan.batches)}</Fact>
            <Fact label={text.key}>{plan.key.join(", ") || text.noKey}</Fact>
            <Fact label={text.target}>{plan.create ? text.created : text.there}</Fact>
            <Fact label={words.monitoring.columns.filter}>
              <Code fontSize="xs">{plan.filter ?? words.monitoring.all}</Code>
            </Fact>
          </Facts>
          <Remarks title={text.refusals} lines={plan.purge_refusals} />
          <Remarks title={words.request.warnings} lines={plan.warnings} />
          <Types pairs={plan.pairs} />
          {plan.ddl.map((statement) => (
            <Verbatim key={statement}>{statement}</Verbatim>
          ))}
        </Stack>
      )}
    </Card>
  );
}

function Remarks({ title, lines }: { title: string; lines: readonly string[] }) {
  if (lines.length === 0) {
    return null;
  }
  return (
    <Box borderStartWidth="4px" borderStartColor="up_for_retry.solid" ps={3}>
      <Text fontWeight="semibold">{title}</Text>
      <List.Root ps={4}>
        {lines.map((line) => (
          <List.Item key={line} overflowWrap="anywhere">
            {line}
          </List.Item>
        ))}
      </List.Root>
    </Box>
  );
}
