/** What went from where to where, as a picture and in figures, and on which days. */

import { Box, Table as Chakra, Flex } from "@chakra-ui/react";
import { useListState } from "../address";
import { address } from "../api";
import { bytes, count } from "../format";
import { Bars, everyDay, Flows } from "../home/pictures";
import { Card } from "../parts/layout";
import { Empty, Loading, Trouble } from "../parts/States";
import { usePolled } from "../polling";
import type { Day, Flow as FlowLine } from "../shapes";
import { words } from "../words";
import { bounds, Period, periodOf } from "./period";

const text = words.reports;
const titles = text.columns;
const EVERY = 30_000;
/** Bands of the picture; the table has all of them. */
const DRAWN = 12;

export function Flow() {
  const list = useListState("rows");
  const asked = periodOf(list);
  const flow = usePolled<FlowLine[]>(address("reports/flow", asked), EVERY);
  const days = usePolled<Day[]>(address("reports/days", asked), EVERY);
  const [since, until] = bounds(list, Date.now());
  const moved = flow.data?.filter((one) => Number(one.rows) > 0);
  return (
    <>
      <Period
        list={list}
        file="dsp-flow"
        lines={async () => [
          [titles.source, titles.target, titles.rows, titles.bytes],
          ...(flow.data ?? []).map((one) => [one.source, one.target, one.rows, one.bytes]),
        ]}
      />
      {[flow, days].map(
        (one, at) =>
          one.problem && (
            <Trouble
              key={at === 0 ? "flow" : "days"}
              problem={one.problem}
              at={one.at}
              retry={one.reload}
            />
          ),
      )}
      {!flow.data && !flow.problem && <Loading what={text.what} />}
      {moved?.length === 0 && <Empty title={text.nothing} step={text.nothingStep} />}
      {moved && moved.length > 0 && (
        <>
          <Flex gap={4} wrap="wrap" align="stretch">
            <Box flex="1" minW="24rem">
              <Card title={text.flow}>
                <Flows flows={moved.slice(0, DRAWN)} />
              </Card>
            </Box>
            <Box flex="1" minW="24rem">
              <Card title={words.home.days}>
                <Bars days={everyDay(days.data ?? [], since, until - 1)} />
              </Card>
            </Box>
          </Flex>
          <Ways flows={moved} />
        </>
      )}
    </>
  );
}

function Ways({ flows }: { flows: readonly FlowLine[] }) {
  return (
    <Box overflowX="auto" borderWidth="1px" borderRadius="md" bg="bg">
      <Chakra.Root size="sm" aria-label={text.flow}>
        <Chakra.Header>
          <Chakra.Row bg="bg.subtle">
            <Chakra.ColumnHeader>{titles.source}</Chakra.ColumnHeader>
            <Chakra.ColumnHeader>{titles.target}</Chakra.ColumnHeader>
            <Chakra.ColumnHeader textAlign="end">{titles.rows}</Chakra.ColumnHeader>
            <Chakra.ColumnHeader textAlign="end">{titles.bytes}</Chakra.ColumnHeader>
          </Chakra.Row>
        </Chakra.Header>
        <Chakra.Body>
          {flows.map((one) => (
            <Chakra.Row key={JSON.stringify([one.source, one.target])}>
              <Chakra.Cell>{one.source}</Chakra.Cell>
              <Chakra.Cell>{one.target}</Chakra.Cell>
              <Chakra.Cell textAlign="end" fontVariantNumeric="tabular-nums">
                {count(one.rows)}
              </Chakra.Cell>
              <Chakra.Cell textAlign="end" fontVariantNumeric="tabular-nums">
                {bytes(one.bytes)}
              </Chakra.Cell>
            </Chakra.Row>
          ))}
        </Chakra.Body>
      </Chakra.Root>
    </Box>
  );
}
