/** One run: its jobs, what it waits for, what went wrong and what to do. */

import { Box, Code, Stack, Table, Text } from "@chakra-ui/react";
import { useEffect, useState } from "react";
import { useParams } from "react-router-dom";
import { places } from "../address";
import { address, path } from "../api";
import { bytes, count, duration } from "../format";
import { Card, Facts, Title, To, Verbatim } from "../parts/layout";
import { Loading, Trouble } from "../parts/States";
import { Bar, Fact, Moment } from "../parts/values";
import { IDLE, LIVE, type Polled, usePolled } from "../polling";
import type { RunDetail } from "../shapes";
import { ended } from "../states";
import { words } from "../words";
import { Afterwards } from "./Afterwards";
import { Jobs } from "./Jobs";
import { Logs } from "./Logs";
import { RunActions } from "./RunActions";
import { RunState } from "./Runs";
import { useSpeeds } from "./speeds";
import { totals } from "./totals";

export function RunPage() {
  const { run = "" } = useParams();
  return <Run key={run} id={run} />;
}

function Run({ id }: { id: string }) {
  const found = useRun(id);
  const speeds = useSpeeds();
  const run = found.data;
  return (
    <>
      {found.problem && <Trouble problem={found.problem} at={found.at} retry={found.reload} />}
      {!run && !found.problem && <Loading what={words.run.what} />}
      {run && (
        <>
          <Title
            beside={<RunState run={run} />}
            under={<Origin run={run} />}
            actions={<RunActions run={run} done={found.reload} />}
          >
            {run.title}
          </Title>
          <WhatToKnow run={run} />
          <Afterwards run={run} />
          <Card>
            <Figures run={run} />
          </Card>
          <Card title={words.run.jobs}>
            <Jobs run={run} at={found.at} speeds={speeds} />
          </Card>
          <Logs run={run} />
          <Losses run={run} />
          <Definition run={run} />
        </>
      )}
    </>
  );
}

/** The run, watched while it goes on. */
export function useRun(id: string): Polled<RunDetail> {
  const [rhythm, setRhythm] = useState(LIVE);
  const found = usePolled<RunDetail>(address(path("runs", id)), rhythm);
  const state = found.data?.state;
  useEffect(() => setRhythm(state !== undefined && ended(state) ? IDLE : LIVE), [state]);
  return found;
}

function Origin({ run }: { run: RunDetail }) {
  return (
    <>
      <Code>{run.id}</Code> {words.monitoring.attempt(run.attempt)}
      {run.triggered_by && `, ${words.monitoring.by(run.triggered_by)}`}
      {run.airflow && (
        <>
          {" · "}
          <To to={places.airflowRun(run.airflow.dag_id, run.airflow.dag_run_id)}>
            {words.run.airflow}
          </To>
        </>
      )}
      {run.request && (
        <>
          {" · "}
          <To to={places.request(run.request)}>{words.run.request}</To>
        </>
      )}
      {run.afterwards.again_of && (
        <>
          {" · "}
          <To to={places.run(run.afterwards.again_of)}>
            {words.afterwards.againOf(run.afterwards.again_of)}
          </To>
        </>
      )}
    </>
  );
}

function WhatToKnow({ run }: { run: RunDetail }) {
  if (!run.error && run.notes.length === 0) {
    return null;
  }
  return (
    <Box
      borderWidth="1px"
      borderStartWidth="4px"
      borderRadius="md"
      p={3}
      mb={4}
      borderStartColor={run.error ? "failed.solid" : "up_for_retry.solid"}
    >
      <Stack gap={1}>
        {run.error && (
          <Text color="red.fg" whiteSpace="pre-wrap" overflowWrap="anywhere">
            {run.error}
          </Text>
        )}
        {run.next_step && (
          <Text overflowWrap="anywhere">
            <strong>{words.run.nextStep}</strong> {run.next_step}
          </Text>
        )}
        {run.notes.map((note) => (
          <Text key={`${note.job} ${note.text}`} overflowWrap="anywhere">
            {note.job && <strong>{note.job}: </strong>}
            {note.text}
          </Text>
        ))}
      </Stack>
    </Box>
  );
}

function Figures({ run }: { run: RunDetail }) {
  const all = totals(run);
  const names = words.monitoring.columns;
  return (
    <Facts>
      <Fact label={names.progress}>
        <Bar share={run.progress} state={run.state} label={names.progress} />
      </Fact>
      <Fact label={names.rows}>
        {count(all.rows)} / {count(all.planned)}
      </Fact>
      <Fact label={names.bytes}>{bytes(all.bytes)}</Fact>
      <Fact label={names.started}>
        <Moment at={run.started_at} />
      </Fact>
      {ended(run.state) ? (
        <Fact label={names.ended}>
          <Moment at={run.ended_at} />
        </Fact>
      ) : (
        <Fact label={names.eta}>
          <Moment at={all.eta} />
        </Fact>
      )}
      <Fact label={names.duration}>{duration(run.seconds)}</Fact>
      <Fact label={names.sourceData}>
        {words.monitoring.sourceData[all.source]}
        {(Number(all.purged) > 0 || Number(all.kept) > 0) &&
          `, ${words.monitoring.purged(count(all.purged), count(all.kept))}`}
      </Fact>
    </Facts>
  );
}

function Losses({ run }: { run: RunDetail }) {
  if (run.losses.length === 0) {
    return null;
  }
  const heads = words.run.lossColumns;
  return (
    <Card title={words.run.losses}>
      <Table.Root size="sm">
        <Table.Header>
          <Table.Row>
            <Table.ColumnHeader>{heads.job}</Table.ColumnHeader>
            <Table.ColumnHeader>{heads.column}</Table.ColumnHeader>
            <Table.ColumnHeader>{heads.rule}</Table.ColumnHeader>
            <Table.ColumnHeader textAlign="end">{heads.values}</Table.ColumnHeader>
          </Table.Row>
        </Table.Header>
        <Table.Body>
          {run.losses.map((loss) => (
            <Table.Row key={`${loss.job} ${loss.column} ${loss.rule}`}>
              <Table.Cell>{loss.job}</Table.Cell>
              <Table.Cell>{loss.column}</Table.Cell>
              <Table.Cell>{loss.rule}</Table.Cell>
              <Table.Cell textAlign="end">{count(loss.values)}</Table.Cell>
            </Table.Row>
          ))}
        </Table.Body>
      </Table.Root>
    </Card>
  );
}

function Definition({ run }: { run: RunDetail }) {
  return (
    <Card title={words.run.definition}>
      <Facts>
        <Fact label={words.run.file}>{run.file}</Fact>
        <Fact label={words.run.digest}>
          <Code fontSize="xs">{run.definition_digest}</Code>
        </Fact>
      </Facts>
      {Object.keys(run.variables).length > 0 && (
        <Box mt={3}>
          <Text fontSize="xs" color="fg.muted">
            {words.run.variables}
          </Text>
          <Verbatim>{JSON.stringify(run.variables, null, 2)}</Verbatim>
        </Box>
      )}
      <Box asChild mt={3}>
        <details>
          <summary>{words.run.definition}</summary>
          <Verbatim>{JSON.stringify(run.definition, null, 2)}</Verbatim>
        </details>
      </Box>
    </Card>
  );
}
