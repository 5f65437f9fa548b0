/** The same table inside Airflow's pages of a DAG and a DAG run, and a panel for its first page. */

import { Box, Heading, HStack, Stack, Text } from "@chakra-ui/react";
import { places, useListState } from "../address";
import { address, type Page } from "../api";
import { count } from "../format";
import { ChoiceFilter } from "../parts/Filters";
import { To } from "../parts/layout";
import { Empty, Loading, Trouble } from "../parts/States";
import { Bar } from "../parts/values";
import { LIVE, usePolled } from "../polling";
import type { RunLine, Tab } from "../shapes";
import { words } from "../words";
import { Jobs } from "./Jobs";
import { RunState, Runs } from "./Runs";
import { useSpeeds } from "./speeds";

/** What Airflow tells of the page that a component stands on. */
export interface Place {
  dagId?: string;
  runId?: string;
}

/** All runs of a DAG. */
export function DagTab({ dagId }: Place) {
  const list = useListState("created_at");
  const tab = Object.keys(words.monitoring.tabs).find((one) => one === list.filter("tab")) as
    | Tab
    | undefined;
  if (!dagId) {
    return null;
  }
  return (
    <Box p={3} fontSize="sm">
      <HStack mb={3} align="end" gap={3}>
        <ChoiceFilter
          list={list}
          name="tab"
          label={words.monitoring.columns.state}
          any={words.approvals.anyState}
          options={words.monitoring.tabs}
        />
        <To to={places.monitoring()}>{words.monitoring.everything}</To>
      </HStack>
      <Runs tab={tab} dag={dagId} />
    </Box>
  );
}

/** What a DAG run does. */
export function RunTab({ dagId, runId }: Place) {
  const speeds = useSpeeds();
  const url = address("runs", { dag: dagId, dag_run: runId });
  const found = usePolled<Page<RunLine>>(dagId && runId ? url : null, LIVE);
  return (
    <Box p={3} fontSize="sm">
      {found.problem && <Trouble problem={found.problem} at={found.at} retry={found.reload} />}
      {!found.data && !found.problem && <Loading what={words.run.what} />}
      {found.data?.items.length === 0 && (
        <Empty title={words.monitoring.nothingHere} step={words.monitoring.nothingHereStep} />
      )}
      {found.data?.items.map((run) => (
        <Box key={run.id} mb={4}>
          <HStack mb={2} gap={3}>
            <To to={places.run(run.id)}>{run.title}</To>
            <RunState run={run} />
          </HStack>
          {run.error && (
            <Text color="red.fg" whiteSpace="pre-wrap" overflowWrap="anywhere" mb={2}>
              {run.error}
            </Text>
          )}
          <Jobs run={run} at={found.at} speeds={speeds} />
        </Box>
      ))}
    </Box>
  );
}

/** What goes on now, for Airflow's first page. */
export function Panel() {
  const found = usePolled<Page<RunLine>>(address("runs", { tab: "in_progress", limit: 5 }), 5_000);
  const runs = found.data;
  return (
    <Box borderWidth="1px" borderRadius="md" p={4} my={2} fontSize="sm">
      <HStack justify="space-between" mb={2}>
        <Heading size="sm">{words.monitoring.panel}</Heading>
        <To to={places.monitoring()}>
          {words.pages.monitoring}
          {runs && runs.total > 0 && ` (${count(runs.total)})`}
        </To>
      </HStack>
      {found.problem && <Trouble problem={found.problem} at={found.at} retry={found.reload} />}
      {!runs && !found.problem && <Loading what={words.monitoring.runs} />}
      {runs?.items.length === 0 && (
        <Text color="fg.muted" fontSize="sm">
          {words.monitoring.empty.in_progress}
        </Text>
      )}
      <Stack gap={2}>
        {runs?.items.map((run) => (
          <HStack key={run.id} gap={3}>
            <Box flex="1" minW={0}>
              <To to={places.run(run.id)}>{run.title}</To>
            </Box>
            <RunState run={run} />
            <Box w="12rem">
              <Bar share={run.progress} state={run.state} label={run.title} />
            </Box>
          </HStack>
        ))}
      </Stack>
    </Box>
  );
}
