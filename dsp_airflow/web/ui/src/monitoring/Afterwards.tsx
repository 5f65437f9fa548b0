/** What was done about a run since it ended: what was undone, repaired, and done again. */

import { Stack, Text } from "@chakra-ui/react";
import { places } from "../address";
import { count } from "../format";
import { Card, Facts, To } from "../parts/layout";
import { Fact, Moment } from "../parts/values";
import type { Repaired, RolledBack, RunDetail } from "../shapes";
import { words } from "../words";

const text = words.afterwards;

export function Afterwards({ run }: { run: RunDetail }) {
  const { rollbacks, repairs, again } = run.afterwards;
  if (rollbacks.length === 0 && repairs.length === 0) {
    return null;
  }
  return (
    <Card title={text.title}>
      <Stack gap={4}>
        {rollbacks.map((one) => (
          <Undone key={one.job} one={one} />
        ))}
        {again && (
          <Text>
            {text.again} <To to={places.run(again)}>{again}</To>
          </Text>
        )}
        {repairs.map((one) => (
          <Mended key={one.job} one={one} />
        ))}
      </Stack>
    </Card>
  );
}

function Undone({ one }: { one: RolledBack }) {
  return (
    <section aria-label={text.rolledBack(one.job)}>
      <Heading title={text.rolledBack(one.job)} one={one} open={text.goesOn} />
      <Facts>
        <Fact label={text.removed}>{count(one.removed)}</Fact>
        <Fact label={text.restored}>{count(one.restored)}</Fact>
        <Fact label={text.kept}>{count(one.kept)}</Fact>
      </Facts>
      {one.reasons.map(({ why, rows }) => (
        <Text key={why} fontSize="sm" color="fg.muted" overflowWrap="anywhere">
          {text.reason(count(rows), why)}
        </Text>
      ))}
    </section>
  );
}

function Mended({ one }: { one: Repaired }) {
  return (
    <section aria-label={text.repaired(one.job)}>
      <Heading title={text.repaired(one.job)} one={one} open={text.goesOn} />
      <Facts>
        <Fact label={text.batches}>{count(one.batches)}</Fact>
        <Fact label={text.found}>{count(one.rows_found)}</Fact>
        {one.ended_at && <Fact label={text.left}>{count(one.rows_left)}</Fact>}
      </Facts>
    </section>
  );
}

function Heading(props: { title: string; one: RolledBack | Repaired; open: string }) {
  const { title, one, open } = props;
  return (
    <Text fontWeight="medium" mb={1} overflowWrap="anywhere">
      {title}, {text.by(one.by)} <Moment at={one.ended_at ?? one.begun_at} />
      {one.ended_at === null && <>: {open}</>}
    </Text>
  );
}
