/** The period of a report, and its file. */

import { Box, Button, Flex, Spacer } from "@chakra-ui/react";
import { useState } from "react";
import type { ListState } from "../address";
import { type Page, type Problem, problemFrom, type Query } from "../api";
import { csv, download, everything } from "../csv";
import { count } from "../format";
import { DayFilter, dayStart, Filters } from "../parts/Filters";
import type { Filter, Listed } from "../parts/List";
import { Trouble } from "../parts/States";
import { words } from "../words";

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

type Lines = readonly (readonly (string | number | null)[])[];

/** The filters of a report that is a list. */
export const PERIOD: readonly Filter[] = [
  { kind: "day", name: "since", label: words.table.since },
  { kind: "day", name: "until", label: words.table.until, end: true },
];

interface PeriodProps {
  list: ListState;
  /** The file's name, and its lines. */
  file: string;
  lines: () => Promise<Lines>;
}

/** Those of one that is no list. */
export function Period({ list, file, lines }: PeriodProps) {
  return (
    <Flex align="end" gap={3} wrap="wrap">
      <Filters list={list} names={PERIOD.map((one) => one.name)}>
        {PERIOD.map((one) => (
          <DayFilter key={one.name} list={list} name={one.name} label={one.label} />
        ))}
      </Filters>
      <Spacer />
      <Download file={file} lines={lines} />
    </Flex>
  );
}

/** All lines of a list of a report; its own words where there are too many for a file. */
export function every<Line>(route: string, list: Listed<Page<Line>>): Promise<Line[]> {
  return everything<Line>(route, list.asked, (most) => words.reports.tooMany(count(most)));
}

/** A button that saves lines as a file, and what speaks against it. */
export function Download({ file, lines }: { file: string; lines: () => Promise<Lines> }) {
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
        <Box order={-1} flexBasis="100%">
          <Trouble problem={state} title={words.problems.notDone} />
        </Box>
      )}
      <Button
        size="xs"
        variant="outline"
        mb={3}
        loading={state === "busy"}
        onClick={() => void save()}
      >
        {words.reports.download}
      </Button>
    </>
  );
}
