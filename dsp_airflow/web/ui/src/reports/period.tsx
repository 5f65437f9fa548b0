/** The period of a report, and its file. */

import { Button, Flex, Spacer } from "@chakra-ui/react";
import { type ReactNode, useState } from "react";
import type { ListState } from "../address";
import { type Problem, problemFrom, type Query } from "../api";
import { csv, download } from "../csv";
import { DayFilter, dayStart, Filters } from "../parts/Filters";
import { Trouble } from "../parts/States";
import { words } from "../words";

const PERIOD = ["since", "until"] as const;
/** What the server takes where nothing else is said. */
const USUAL_DAYS = 30;
const DAY = 86_400_000;

/** What the API is asked for. */
export function periodOf(list: ListState): Query {
  return { since: dayStart(list.filter("since")), until: dayStart(list.filter("until"), 1) };
}

/** The days that are drawn, from midnight to midnight. */
export function bounds(list: ListState, now: number): [number, number] {
  const until =
    Date.parse(dayStart(list.filter("until"), 1) ?? "") || (Math.floor(now / DAY) + 1) * DAY;
  const since = Date.parse(dayStart(list.filter("since")) ?? "") || until - (USUAL_DAYS + 1) * DAY;
  return [since, until];
}

interface PeriodProps {
  list: ListState;
  /** Further filters of this report. */
  names?: readonly string[];
  children?: ReactNode;
  /** The file's name, and its lines. */
  file: string;
  lines: () => Promise<readonly (readonly (string | number | null)[])[]>;
}

export function Period({ list, names = [], children, file, lines }: PeriodProps) {
  const [state, setState] = useState<"busy" | Problem>();
  const save = async () => {
    setState("busy");
    try {
      download(`${file}.csv`, csv(await lines()));
      setState(undefined);
    } catch (error) {
      setState(problemFrom(error));
    }
  };
  return (
    <>
      {state !== undefined && state !== "busy" && (
        <Trouble problem={state} title={words.problems.notDone} />
      )}
      <Flex align="end" gap={3}>
        <Filters list={list} names={[...PERIOD, ...names]}>
          <DayFilter list={list} name="since" label={words.table.since} />
          <DayFilter list={list} name="until" label={words.table.until} />
          {children}
        </Filters>
        <Spacer />
        <Button
          size="xs"
          variant="outline"
          mb={3}
          loading={state === "busy"}
          onClick={() => void save()}
        >
          {words.reports.download}
        </Button>
      </Flex>
    </>
  );
}
