/** How things stand: what runs, what was moved, and what needs me. */

import { Box, Flex, Heading, Stack, Text } from "@chakra-ui/react";
import { useMemo } from "react";
import { places, useListState } from "../address";
import { address, type Page } from "../api";
import { bytes, count, sum } from "../format";
import { ChoiceFilter } from "../parts/Filters";
import { Card, Title, To } from "../parts/layout";
import { Empty, Loading, Trouble } from "../parts/States";
import { Moment } from "../parts/values";
import { type Polled, usePolled } from "../polling";
import type { Day, Flow, Me, RequestLine, RunLine, Tab } from "../shapes";
import { palette } from "../states";
import { words } from "../words";
import { Bars, everyDay, Flows } from "./pictures";

const text = words.home;
const USUAL = "7";
/** Seven questions in this time: fewer than one in two seconds. */
const EVERY = 20_000;
const LISTED = 5;
const LOOKED_AT = 100;

export function HomePage({ me }: { me: Me | undefined }) {
  const list = useListState("created_at");
  const days = Number(list.filter("days") || USUAL);
  // Of the minute, so that the addresses that are asked for stay the same for a while.
  const minute = Math.floor(Date.now() / 60_000);
  const since = useMemo(
    () => new Date(minute * 60_000 - days * 86_400_000).toISOString(),
    [minute, days],
  );
  return (
    <>
      <Title
        actions={
          <ChoiceFilter
            list={list}
            name="days"
            label={text.period}
            any={text.periods[USUAL]}
            options={OTHERS}
          />
        }
      >
        {text.title}
      </Title>
      <Flex gap={4} mb={4} wrap="wrap">
        <RunsFigure label={text.figures.running} tab="in_progress" state="running" since="" />
        <RunsFigure
          label={text.figures.succeeded}
          tab="completed"
          state="succeeded"
          since={since}
        />
        <RunsFigure label={text.figures.failed} tab="exception" state="failed" since={since} />
        <Figure
          label={text.figures.waiting}
          state="APPROVING"
          to={places.approvals("waiting")}
          number={me?.waiting}
        />
      </Flex>
      <Flex gap={4} align="stretch" wrap="wrap">
        <Box flex="1" minW="24rem">
          <Moved since={since} />
        </Box>
        <Box flex="1" minW="24rem">
          <WhereTo since={since} />
        </Box>
      </Flex>
      <NeedsMe me={me} />
    </>
  );
}

const OTHERS = Object.fromEntries(Object.entries(text.periods).filter(([days]) => days !== USUAL));

interface FigureProps {
  label: string;
  state: string;
  to: string;
  number: number | undefined;
}

function Figure({ label, state, to, number }: FigureProps) {
  return (
    <Box
      flex="1"
      minW="11rem"
      borderWidth="1px"
      borderRadius="md"
      borderTopWidth="4px"
      borderTopColor={`${palette(state)}.solid`}
      p={4}
    >
      <Heading as="p" size="3xl" fontVariantNumeric="tabular-nums">
        {count(number)}
      </Heading>
      <To to={to}>{label}</To>
    </Box>
  );
}

function RunsFigure(props: { label: string; tab: Tab; state: string; since: string }) {
  const url = address("runs", { tab: props.tab, since: props.since, limit: 1 });
  const found = usePolled<Page<RunLine>>(url, EVERY);
  return (
    <Figure
      label={props.label}
      state={props.state}
      to={places.monitoring("warm", props.tab)}
      number={found.data?.total}
    />
  );
}

function Moved({ since }: { since: string }) {
  const found = usePolled<Day[]>(address("reports/days", { since }), EVERY);
  const days = found.data;
  return (
    <Card title={text.days}>
      <Answer polled={found} what={text.days} />
      {days && isNothing(days) && <Empty title={text.nothing} step={text.nothingStep} />}
      {days && !isNothing(days) && (
        <>
          <Text color="fg.muted">
            {text.inAll(
              count(sum(days.map((one) => one.rows_copied))),
              bytes(sum(days.map((one) => one.bytes))),
            )}
          </Text>
          <Bars days={everyDay(days, Date.parse(since), Date.now())} />
        </>
      )}
    </Card>
  );
}

function WhereTo({ since }: { since: string }) {
  const found = usePolled<Flow[]>(address("reports/flow", { since }), EVERY);
  const flows = found.data?.filter((flow) => Number(flow.rows) > 0);
  return (
    <Card title={text.flow}>
      <Answer polled={found} what={text.flow} />
      {flows?.length === 0 && <Empty title={text.nothing} />}
      {flows && flows.length > 0 && <Flows flows={flows} />}
    </Card>
  );
}

function Answer({ polled, what }: { polled: Polled<unknown>; what: string }) {
  if (polled.problem) {
    return <Trouble problem={polled.problem} at={polled.at} retry={polled.reload} />;
  }
  return polled.data === undefined ? <Loading what={what} /> : null;
}

function isNothing(days: readonly Day[]): boolean {
  return days.every((one) => Number(one.rows_copied) === 0);
}

function NeedsMe({ me }: { me: Me | undefined }) {
  const asked = { whose: "waiting-for-me", limit: LISTED };
  const requests = usePolled<Page<RequestLine>>(address("requests", asked), EVERY);
  const failed = usePolled<Page<RunLine>>(
    address("runs", { tab: "exception", limit: LOOKED_AT }),
    EVERY,
  );
  const mine = failed.data?.items.filter((run) => run.owner === me?.name) ?? [];
  return (
    <Card title={text.needsMe}>
      <Flex gap={8} wrap="wrap">
        <Stack flex="1" minW="20rem" gap={1}>
          <Text color="fg.muted">{text.approvals}</Text>
          <Answer polled={requests} what={text.approvals} />
          {requests.data?.items.map((one) => (
            <Text key={one.id}>
              <To to={places.request(one.id)}>{one.title}</To>,{" "}
              {words.request.askedBy(one.requester)}, <Moment at={one.until} />
            </Text>
          ))}
          {requests.data?.total === 0 && <Text>{text.none}</Text>}
        </Stack>
        <Stack flex="1" minW="20rem" gap={1}>
          <Text color="fg.muted">{text.exceptions}</Text>
          <Answer polled={failed} what={text.exceptions} />
          {mine.slice(0, LISTED).map((run) => (
            <Text key={run.id} lineClamp={2}>
              <To to={places.run(run.id)}>{run.title}</To>, <Moment at={run.ended_at} />
              {run.error && `: ${run.error}`}
            </Text>
          ))}
          {failed.data && mine.length === 0 && <Text>{text.none}</Text>}
        </Stack>
      </Flex>
    </Card>
  );
}
