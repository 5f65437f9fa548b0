/** The jobs of a run, with what they have done. */

import { Box, Stack, Table, Text } from "@chakra-ui/react";
import { places } from "../address";
import { bytes, count } from "../format";
import { To } from "../parts/layout";
import { Bar, Moment, Sparkline, StateBadge } from "../parts/values";
import type { JobCounts, RunLine } from "../shapes";
import { words } from "../words";
import type { Speeds } from "./speeds";

const titles = words.monitoring.columns;

interface JobsProps {
  run: RunLine;
  at: number | undefined;
  speeds: Speeds;
}

export function Jobs({ run, at, speeds }: JobsProps) {
  if (run.jobs.length === 0) {
    return (
      <Text color="fg.muted" fontSize="sm">
        {words.monitoring.noJobs}
      </Text>
    );
  }
  const heads: readonly [string, boolean][] = [
    [titles.name, false],
    [titles.strategy, false],
    [titles.state, false],
    [titles.progress, false],
    [titles.rows, true],
    [titles.speed, true],
    [titles.eta, false],
    [titles.bytes, true],
    [titles.check, false],
    [titles.sourceData, false],
    [titles.filter, false],
  ];
  return (
    <Box overflowX="auto">
      <Table.Root size="sm" aria-label={words.run.jobs} variant="line">
        <Table.Header>
          <Table.Row bg="transparent">
            {heads.map(([title, numeric]) => (
              <Table.ColumnHeader
                key={title}
                textAlign={numeric ? "end" : "start"}
                whiteSpace="nowrap"
                color="fg.muted"
                fontWeight="medium"
              >
                {title}
              </Table.ColumnHeader>
            ))}
          </Table.Row>
        </Table.Header>
        <Table.Body>
          {run.jobs.map((job) => (
            <JobRow key={job.name} run={run} job={job} at={at} speeds={speeds} />
          ))}
        </Table.Body>
      </Table.Root>
    </Box>
  );
}

const figure = {
  textAlign: "end",
  whiteSpace: "nowrap",
  fontVariantNumeric: "tabular-nums",
} as const;

function JobRow({ run, job, at, speeds }: { job: JobCounts } & JobsProps) {
  const seen = speeds(`${run.id} ${run.attempt} ${job.name}`, job.rows_written, at);
  return (
    <Table.Row bg="transparent" verticalAlign="top">
      <Table.Cell minW="12rem">
        <To to={places.job(run.id, job.name)}>{job.name}</To>
        <Text fontSize="xs" color="fg.muted" overflowWrap="anywhere">
          {job.source} → {job.target}
        </Text>
      </Table.Cell>
      <Table.Cell>
        <Strategy job={job} />
      </Table.Cell>
      <Table.Cell>
        <StateBadge state={job.state} text={job.state} />
      </Table.Cell>
      <Table.Cell>
        <Bar share={job.progress} state={job.state} label={`${job.name}: ${titles.progress}`} />
      </Table.Cell>
      <Table.Cell {...figure}>
        {count(job.rows_written)} / {count(job.rows_total)}
      </Table.Cell>
      <Table.Cell {...figure}>
        <Sparkline values={seen} /> {count(job.rows_per_second)}
      </Table.Cell>
      <Table.Cell>
        <Moment at={job.eta} />
      </Table.Cell>
      <Table.Cell {...figure}>{bytes(job.bytes)}</Table.Cell>
      <Table.Cell>
        <Check job={job} />
      </Table.Cell>
      <Table.Cell>
        <SourceData job={job} />
      </Table.Cell>
      <Table.Cell maxW="16rem" overflowWrap="anywhere" fontSize="xs" fontFamily="mono">
        {job.filter ?? words.monitoring.all}
      </Table.Cell>
    </Table.Row>
  );
}

export function Strategy({ job }: { job: JobCounts }) {
  return <>{[words.types[job.type] ?? job.type, job.mode].filter(Boolean).join(", ")}</>;
}

export function Check({ job }: { job: JobCounts }) {
  if (job.check_percent === null) {
    return <Text color="fg.muted">{words.monitoring.checkOff}</Text>;
  }
  const differs = Number(job.rows_different) > 0;
  return (
    <Stack gap={0}>
      <Text>{job.check_percent} %</Text>
      <Text fontSize="xs" color={differs ? "red.fg" : "fg.muted"} whiteSpace="nowrap">
        {differs
          ? words.monitoring.different(count(job.rows_different))
          : words.monitoring.checked(count(job.rows_checked))}
      </Text>
    </Stack>
  );
}

export function SourceData({ job }: { job: JobCounts }) {
  const deleted = Number(job.rows_purged) > 0 || Number(job.rows_kept) > 0;
  return (
    <Stack gap={0}>
      <Text whiteSpace="nowrap">{words.monitoring.sourceData[job.source_data]}</Text>
      {deleted && (
        <Text fontSize="xs" color="fg.muted" whiteSpace="nowrap">
          {words.monitoring.purged(count(job.rows_purged), count(job.rows_kept))}
        </Text>
      )}
      {Number(job.rows_gone) > 0 && (
        <Text fontSize="xs" color="fg.muted" whiteSpace="nowrap">
          {words.monitoring.gone(count(job.rows_gone))}
        </Text>
      )}
    </Stack>
  );
}
