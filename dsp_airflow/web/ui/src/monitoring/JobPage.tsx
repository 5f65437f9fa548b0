/** One job of a run: its batches as a strip and as a table, and the rows that differ. */

import { Box, Button, Code, Stack, Text } from "@chakra-ui/react";
import { useState } from "react";
import { useParams } from "react-router-dom";
import { places, useListState } from "../address";
import { address, type Page, Problem, path, problemFrom } from "../api";
import { bytes, count, duration } from "../format";
import { ChoiceFilter, Filters } from "../parts/Filters";
import { Card, Facts, Tabs, Title, To } from "../parts/layout";
import { Empty, Loading, Trouble } from "../parts/States";
import { type Column, Table } from "../parts/Table";
import { Bar, Fact, Moment, StateBadge } from "../parts/values";
import { IDLE, LIVE, usePolled } from "../polling";
import type {
  AirflowRun,
  BatchLine,
  DifferenceLine,
  JobCounts,
  RunDetail,
  StripCell,
  Strip as StripShape,
} from "../shapes";
import { CELL, ended } from "../states";
import { words } from "../words";
import { type Act, ByHand } from "./ByHand";
import { downloadDifferences } from "./differences";
import { Check, SourceData } from "./Jobs";
import { JobLogs } from "./Logs";
import { Began, RepairJob } from "./RunActions";
import { useRun } from "./RunPage";
import { Strip, Swatch } from "./Strip";

const CELLS = 400;

export function JobPage({ differences = false }: { differences?: boolean }) {
  const { run = "", job = "" } = useParams();
  return <Job key={`${run} ${job}`} run={run} name={job} differences={differences} />;
}

function Job({ run: id, name, differences }: { run: string; name: string; differences: boolean }) {
  const found = useRun(id);
  const run = found.data;
  const job = run?.jobs.find((one) => one.name === name);
  return (
    <>
      {found.problem && <Trouble problem={found.problem} at={found.at} retry={found.reload} />}
      {!run && !found.problem && <Loading what={words.job.what} />}
      {run && !job && <Empty title={words.monitoring.noJobs} />}
      {run && job && (
        <>
          <Title
            beside={<StateBadge state={job.state} text={job.state} />}
            under={
              <>
                <To to={places.run(run.id)}>
                  {run.title}, {run.id}
                </To>
                {" · "}
                {job.source} → {job.target}
                {run.airflow && (
                  <>
                    {" · "}
                    <To to={places.airflowRun(run.airflow.dag_id, run.airflow.dag_run_id)}>
                      {words.run.airflow}
                    </To>
                  </>
                )}
                {run.steps.length > 0 && (
                  <>
                    {" · "}
                    {words.run.logs}: <JobLogs run={run} job={job.name} />
                  </>
                )}
              </>
            }
            actions={<Actions run={run} job={job} />}
          >
            {job.name}
          </Title>
          {job.error && (
            <Text color="red.fg" whiteSpace="pre-wrap" overflowWrap="anywhere" mb={3}>
              {job.error}
            </Text>
          )}
          <Card>
            <Figures job={job} executed={run.filters[job.name]} />
          </Card>
          <Batches run={run} job={job} differences={differences} />
        </>
      )}
    </>
  );
}

function Figures({ job, executed }: { job: JobCounts; executed: string | null | undefined }) {
  const names = words.monitoring.columns;
  return (
    <Facts>
      <Fact label={names.progress}>
        <Bar share={job.progress} state={job.state} label={names.progress} />
      </Fact>
      <Fact label={names.rows}>
        {count(job.rows_written)} / {count(job.rows_total)}
      </Fact>
      <Fact label={names.speed}>{count(job.rows_per_second)}</Fact>
      <Fact label={names.bytes}>{bytes(job.bytes)}</Fact>
      <Fact label={names.started}>
        <Moment at={job.started_at} />
      </Fact>
      <Fact label={job.ended_at ? names.ended : names.eta}>
        <Moment at={job.ended_at ?? job.eta} />
      </Fact>
      <Fact label={names.check}>
        <Check job={job} />
      </Fact>
      <Fact label={names.sourceData}>
        <SourceData job={job} />
      </Fact>
      <Fact label={names.filter}>
        {/* As the plan has it, with all values in it; before that, as the file says it. */}
        <Code fontSize="xs">{executed ?? job.filter ?? words.monitoring.all}</Code>
      </Fact>
    </Facts>
  );
}

function Batches(props: { run: RunDetail; job: JobCounts; differences: boolean }) {
  const { run, job, differences } = props;
  const every = ended(run.state) ? IDLE : LIVE;
  const url = address(path("runs", run.id, "jobs", job.name, "strip"), { cells: CELLS });
  const strip = usePolled<StripShape>(url, every);
  const list = useListState("number", false);
  const { limit } = list;
  const [chosen, setChosen] = useState<StripCell>();
  const show = (cell: StripCell) => {
    setChosen(cell);
    list.setFilters({ state: "" }, Math.floor((cell.first - 1) / limit) * limit);
  };
  const here = places.job(run.id, job.name);
  return (
    <>
      <Card title={words.job.strip}>
        {strip.problem && <Trouble problem={strip.problem} at={strip.at} retry={strip.reload} />}
        {!strip.data && !strip.problem && <Loading what={words.job.what} />}
        {strip.data && strip.data.batches === 0 && <Empty title={words.job.none} />}
        {strip.data && strip.data.batches > 0 && (
          <>
            <Strip
              strip={strip.data}
              isChosen={(cell) => cell.first === chosen?.first}
              choose={show}
            />
            <Text fontSize="xs" color="fg.muted" mt={2}>
              {words.job.stripHint}
            </Text>
          </>
        )}
      </Card>
      <Tabs
        label={job.name}
        tabs={[
          { to: here, text: words.job.strip, current: !differences },
          { to: `${here}/differences`, text: words.job.differences, current: differences },
        ]}
      />
      {differences ? (
        <Differences run={run} job={job} every={every} />
      ) : (
        <BatchTable run={run} job={job} every={every} chosen={chosen} />
      )}
    </>
  );
}

interface ListProps {
  run: RunDetail;
  job: JobCounts;
  every: number;
}

function BatchTable({ run, job, every, chosen }: ListProps & { chosen: StripCell | undefined }) {
  const list = useListState("number", false);
  const rows = usePolled<Page<BatchLine>>(
    address(path("runs", run.id, "jobs", job.name, "batches"), {
      state: list.filter("state"),
      limit: list.limit,
      offset: list.offset,
    }),
    every,
  );
  const isChosen = (batch: BatchLine) =>
    chosen !== undefined && batch.number >= chosen.first && batch.number <= chosen.last;
  const { columns: titles } = words.job;
  const columns: Column<BatchLine>[] = [
    {
      id: "number",
      title: titles.number,
      numeric: true,
      cell: (batch) => (
        <Text as="span" fontWeight={isChosen(batch) ? "bold" : "normal"}>
          {isChosen(batch) && "▸ "}
          {count(batch.number)}
        </Text>
      ),
    },
    {
      id: "state",
      title: titles.state,
      cell: (batch) => (
        <Swatch
          colour={CELL[batch.error && !batch.holder ? "failed" : batch.state]}
          text={words.job.batchStates[batch.state]}
        />
      ),
    },
    { id: "range", title: titles.range, cell: (batch) => <Range batch={batch} /> },
    { id: "rows", title: titles.rows, numeric: true, cell: (batch) => count(batch.rows) },
    {
      id: "different",
      title: titles.different,
      numeric: true,
      cell: (batch) => count(batch.rows_different),
    },
    {
      id: "purged",
      title: titles.purged,
      numeric: true,
      cell: (batch) => count(batch.rows_purged),
    },
    { id: "kept", title: titles.kept, numeric: true, cell: (batch) => count(batch.rows_kept) },
    { id: "bytes", title: titles.bytes, numeric: true, cell: (batch) => bytes(batch.bytes) },
    {
      id: "seconds",
      title: titles.seconds,
      numeric: true,
      cell: (batch) => duration(batch.seconds),
    },
    { id: "tries", title: titles.tries, numeric: true, cell: (batch) => count(batch.attempts) },
    {
      id: "digest",
      title: titles.digest,
      cell: (batch) => (
        <Text as="span" fontFamily="mono" fontSize="xs" title={batch.digest ?? ""}>
          {batch.digest?.slice(0, 16) ?? "–"}
        </Text>
      ),
    },
    {
      id: "receipts",
      title: titles.receipts,
      cell: (batch) => batch.receipts.map(count).join(", ") || "–",
    },
    {
      id: "at",
      title: titles.at,
      cell: (batch) => <Moment at={batch.purged_at ?? batch.checked_at ?? batch.copied_at} />,
    },
    {
      id: "note",
      title: titles.note,
      cell: (batch) => (
        <Box maxW="24rem" fontSize="xs" overflowWrap="anywhere">
          {batch.holder && <Text>{words.job.worker(batch.holder)}</Text>}
          {batch.error && <Text color="red.fg">{batch.error}</Text>}
          {batch.check_note && <Text>{batch.check_note}</Text>}
        </Box>
      ),
    },
  ];
  return (
    <>
      <Filters list={list} names={["state"]}>
        <ChoiceFilter
          list={list}
          name="state"
          label={titles.state}
          any={words.approvals.anyState}
          options={words.job.batchStates}
        />
      </Filters>
      <Table
        what={words.job.what}
        label={words.job.strip}
        columns={columns}
        rows={rows}
        list={list}
        rowKey={(batch) => String(batch.number)}
        empty={{ title: words.job.none }}
        filtered={list.filter("state") !== ""}
      />
    </>
  );
}

function Range({ batch }: { batch: BatchLine }) {
  return (
    <Box fontFamily="mono" fontSize="xs" maxW="18rem" overflowWrap="anywhere">
      {batch.after === null ? words.job.from : `> ${batch.after.join(", ")}`}
      <br />
      {batch.upto === null ? words.job.to : `≤ ${batch.upto.join(", ")}`}
    </Box>
  );
}

function Differences({ run, job, every }: ListProps) {
  const list = useListState("batch", false);
  const rows = usePolled<Page<DifferenceLine>>(
    address(path("runs", run.id, "differences"), {
      job: job.name,
      limit: list.limit,
      offset: list.offset,
    }),
    every,
  );
  const titles = words.job.differenceColumns;
  const columns: Column<DifferenceLine>[] = [
    { id: "batch", title: titles.batch, numeric: true, cell: (one) => count(one.batch) },
    { id: "phase", title: titles.phase, cell: (one) => one.phase },
    { id: "kind", title: titles.kind, cell: (one) => one.kind },
    { id: "key", title: titles.key, cell: (one) => <Mono>{one.key.join(", ")}</Mono> },
    { id: "column", title: titles.column, cell: (one) => <Values values={one.columns} /> },
    { id: "source", title: titles.source, cell: (one) => <Values values={one.source} /> },
    { id: "target", title: titles.target, cell: (one) => <Values values={one.target} /> },
    { id: "reason", title: titles.reason, cell: (one) => one.reason },
  ];
  return (
    <Table
      what={words.job.differences}
      label={words.job.differences}
      columns={columns}
      rows={rows}
      list={list}
      rowKey={(one) => `${one.batch} ${one.phase} ${one.kind} ${one.key.join("\u0000")}`}
      empty={{ title: words.job.noDifferences }}
      filtered={false}
    />
  );
}

function Mono({ children }: { children: string }) {
  return (
    <Text as="span" fontFamily="mono" fontSize="xs" overflowWrap="anywhere">
      {children}
    </Text>
  );
}

/** One value in a line, in the order of the columns. */
function Values({ values }: { values: readonly (string | null)[] | null }) {
  if (values === null) {
    return <Text color="fg.muted">{words.job.hidden}</Text>;
  }
  return (
    <Stack gap={0} maxW="16rem">
      {values.map((value, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the place of a value is what it is
        <Mono key={at}>{value ?? "NULL"}</Mono>
      ))}
    </Stack>
  );
}

function Actions({ run, job }: { run: RunDetail; job: JobCounts }) {
  const [asked, setAsked] = useState<Act>();
  const [began, setBegan] = useState<AirflowRun>();
  const [report, setReport] = useState<Problem | "busy">();
  const download = async () => {
    setReport("busy");
    try {
      await downloadDifferences(run.id, job.name);
      setReport(undefined);
    } catch (error) {
      setReport(problemFrom(error));
    }
  };
  return (
    <>
      <Began run={began} />
      {report instanceof Problem && <Trouble problem={report} title={words.problems.notDone} />}
      <Button
        size="sm"
        variant="outline"
        loading={report === "busy"}
        onClick={() => void download()}
      >
        {words.job.download}
      </Button>
      <RepairJob run={run} job={job.name} began={setBegan} />
      {/* What is done is for the grants and the approval to allow, as in every run. */}
      {job.purge === "manual" && run.may_purge && Number(job.batches) > 0 && (
        <>
          <Button size="sm" variant="outline" onClick={() => setAsked("mark-deleted")}>
            {words.job.byHand["mark-deleted"].action}
          </Button>
          <Button size="sm" variant="outline" colorPalette="red" onClick={() => setAsked("purge")}>
            {words.job.byHand.purge.action}
          </Button>
        </>
      )}
      {asked && (
        <ByHand
          act={asked}
          run={run}
          job={job}
          began={setBegan}
          onClose={() => setAsked(undefined)}
        />
      )}
    </>
  );
}
