/** A list of anything that the API has: asked for, filtered, sorted, paged, chosen from, opened. */

import { Box, Table as Chakra, Flex, IconButton, Spacer } from "@chakra-ui/react";
import { type ReactNode, useEffect, useState } from "react";
import { type ListState, useListState } from "../address";
import { address, type Page, type Query } from "../api";
import { LIVE, type Polled, usePolled } from "../polling";
import { words } from "../words";
import { ChoiceFilter, DayFilter, dayStart, Filters, TextFilter } from "./Filters";
import { type Column, Table } from "./Table";

/** A field above the list; its name is that of the parameter which the API takes. */
export type Filter =
  | { kind: "text"; name: string; label: string }
  | {
      kind: "choice";
      name: string;
      label: string;
      any: string;
      options: Readonly<Record<string, string>>;
    }
  /** A day in UTC: from its beginning, or, of an end, to the beginning of the day after it. */
  | { kind: "day"; name: string; label: string; end?: boolean };

interface Source<Row> {
  route: string;
  /** What is asked besides what the address holds. */
  query?: Query;
  filters?: readonly Filter[];
  /** What the server sorts by at first; without it, it sorts in one way only. */
  sort?: string;
  descending?: boolean;
  /** How often it is asked; or how often, by what was answered last. */
  every?: number | ((rows: readonly Row[]) => number);
}

export interface Listed<Answer> {
  state: ListState;
  rows: Polled<Answer>;
  /** What is asked for, without the page. */
  asked: Query;
  filters: readonly Filter[];
  /** The rows that are opened, and those that are chosen, by their keys. */
  opened: Marks;
  chosen: Marks;
}

/** Some of the rows, by their keys. */
export interface Marks {
  all: ReadonlySet<string>;
  toggle: (key: string) => void;
  add: (key: string) => void;
  remove: (key: string) => void;
}

/** Asks for a list as the address says, again and again. */
export function useList<Row, Answer extends Page<Row> = Page<Row>>(
  source: Source<Row>,
): Listed<Answer> {
  const { route, query = {}, filters = [], sort, descending = true, every } = source;
  const state = useListState(sort ?? "", descending);
  const values = Object.fromEntries(filters.map((one) => [one.name, wanted(one, state)]));
  const order = sort === undefined ? {} : { sort: state.sort, descending: state.descending };
  const asked = { ...query, ...values, ...order };
  const url = address(route, { ...asked, limit: state.limit, offset: state.offset });
  const [rhythm, setRhythm] = useState(LIVE);
  const rows = usePolled<Answer>(url, typeof every === "function" ? rhythm : every);
  useEffect(() => {
    if (typeof every === "function" && rows.data) {
      setRhythm(every(rows.data.items));
    }
  }, [every, rows.data]);
  return { state, rows, asked, filters, opened: useMarks(), chosen: useMarks() };
}

interface ListProps<Row> {
  list: Listed<Page<Row>>;
  what: string;
  label: string;
  columns: readonly Column<Row>[];
  rowKey: (row: Row) => string;
  /** What a row shows under itself once it is opened. */
  below?: (row: Row) => ReactNode;
  /** And what while it is not; nothing of most rows. */
  under?: (row: Row) => ReactNode;
  /** How choosing a row is called; null for one that cannot be chosen. */
  choose?: (row: Row) => string | null;
  empty: { title: string; step?: string };
  /** Whether it is by what was chosen that nothing is there; by any filter unless it is said. */
  filtered?: boolean;
  /** What stands at the end of the filters, and between them and the table. */
  beside?: ReactNode;
  above?: ReactNode;
}

export function List<Row>(props: ListProps<Row>) {
  const { list, rowKey, below, choose } = props;
  const { state, filters, opened, chosen } = list;
  const names = filters.map((one) => one.name);
  const columns = choose ? [choosing(choose, rowKey, chosen), ...props.columns] : props.columns;
  return (
    <>
      {filters.length > 0 && (
        <Flex align="end" gap={3} wrap="wrap">
          <Filters list={state} names={names}>
            {filters.map((one) => (
              <Field key={one.name} filter={one} state={state} />
            ))}
          </Filters>
          <Spacer />
          {props.beside}
        </Flex>
      )}
      {props.above}
      <Table
        what={props.what}
        label={props.label}
        columns={columns}
        rows={list.rows}
        list={state}
        rowKey={rowKey}
        below={(row) => {
          const open = below !== undefined && opened.all.has(rowKey(row));
          const shown = open ? below(row) : props.under?.(row);
          return (
            shown && (
              <Chakra.Row>
                <Chakra.Cell colSpan={columns.length} bg="bg.subtle" ps={10}>
                  {shown}
                </Chakra.Cell>
              </Chakra.Row>
            )
          );
        }}
        empty={props.empty}
        filtered={props.filtered ?? names.some((name) => state.filter(name) !== "")}
      />
    </>
  );
}

/** The button that opens a row, and closes it again. */
export function Opener({ opened, row, label }: { opened: Marks; row: string; label: Labels }) {
  const open = opened.all.has(row);
  return (
    <IconButton
      size="2xs"
      variant="ghost"
      aria-expanded={open}
      aria-label={open ? label.close : label.open}
      onClick={() => opened.toggle(row)}
    >
      <Box as="span" transform={open ? "rotate(90deg)" : "none"} transition="transform 0.1s">
        ▸
      </Box>
    </IconButton>
  );
}

interface Labels {
  open: string;
  close: string;
}

function choosing<Row>(
  label: (row: Row) => string | null,
  rowKey: (row: Row) => string,
  chosen: Marks,
): Column<Row> {
  return {
    id: "chosen",
    title: words.table.chosen,
    hidden: true,
    cell: (row) => {
      const text = label(row);
      return (
        text !== null && (
          <input
            type="checkbox"
            aria-label={text}
            checked={chosen.all.has(rowKey(row))}
            onChange={() => chosen.toggle(rowKey(row))}
          />
        )
      );
    },
  };
}

function Field({ filter, state }: { filter: Filter; state: ListState }) {
  const common = { list: state, name: filter.name, label: filter.label };
  switch (filter.kind) {
    case "text":
      return <TextFilter {...common} />;
    case "day":
      return <DayFilter {...common} />;
    case "choice":
      return <ChoiceFilter {...common} any={filter.any} options={filter.options} />;
  }
}

function wanted(filter: Filter, state: ListState): string | null {
  const value = state.filter(filter.name);
  return filter.kind === "day" ? dayStart(value, filter.end ? 1 : 0) : value;
}

function useMarks(): Marks {
  const [all, setAll] = useState<ReadonlySet<string>>(new Set());
  const without = (known: ReadonlySet<string>, key: string) =>
    new Set([...known].filter((one) => one !== key));
  return {
    all,
    toggle: (key) =>
      setAll((known) => (known.has(key) ? without(known, key) : new Set([...known, key]))),
    add: (key) => setAll((known) => new Set([...known, key])),
    remove: (key) => setAll((known) => without(known, key)),
  };
}
