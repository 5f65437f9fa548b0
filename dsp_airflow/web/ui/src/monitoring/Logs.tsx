/** Where the logs of a run's steps are in Airflow. */

import { Box, Text } from "@chakra-ui/react";
import { places } from "../address";
import { Card, To } from "../parts/layout";
import type { RunDetail, StepLine } from "../shapes";
import { words } from "../words";

/** Those of one job, or of the whole run; nothing where Airflow did not begin it. */
export function JobLogs({ run, job }: { run: RunDetail; job: string | null }) {
  return run.steps
    .filter((one) => one.job === job)
    .map((one, at) => (
      <Box as="span" key={one.task_id}>
        {at > 0 && ", "}
        <Step run={run} step={one} />
      </Box>
    ));
}

export function Logs({ run }: { run: RunDetail }) {
  if (run.steps.length === 0) {
    return null;
  }
  return (
    <Card title={words.run.logs}>
      {[...new Set(run.steps.map((one) => one.job))].map((job) => (
        <Text key={job ?? ""} overflowWrap="anywhere">
          {job ?? words.run.wholeRun}: <JobLogs run={run} job={job} />
        </Text>
      ))}
    </Card>
  );
}

function Step({ run, step }: { run: RunDetail; step: StepLine }) {
  if (run.airflow === null) {
    return step.step;
  }
  const { dag_id, dag_run_id } = run.airflow;
  return (
    <To to={places.airflowStep(dag_id, dag_run_id, step.task_id, step.mapped)}>{step.step}</To>
  );
}
