/** The one table: sorted, filtered and paged by the server, its state kept in the address. */

import {
  Box,
  Button,
  Table as Chakra,
  Flex,
  HStack,
  NativeSelect,
  Text,
  VisuallyHidden,
} from "@chakra-ui/react";
import { Fragment, type ReactNode } from "react";
import { type ListState, SIZES } from "../address";
import type { Page } from "../api";
import { count } from "../format";
import type { Polled } from "../polling";
import { words } from "../words";
import { Empty, Loading, Trouble } from "./States";

export interface Column<Row> {
  id: string;
  title: string;
  /** Whether the title is for readers of the screen alone. */
  hidden?: boolean;
  /** Figures stand at the right. */
  numeric?: boolean;
  /** What the server sorts by; without it the column cannot be sorted. */
  sort?: string;
  cell: (row: Row) => ReactNode;
  width?: string;
}

interface TableProps<Row> {
  what: string;
  label: string;
  columns: readonly Column<Row>[];
  rows: Polled<Page<Row>>;
  list: ListState;
  rowKey: (row: Row) => string;
  /** What stands under a row, over its whole width. */
  below?: (row: Row) => ReactNode;
  empty: { title: string; step?: string };
  filtered: boolean;
}

export function Table<Row>(props: TableProps<Row>) {
  const { rows, list, columns } = props;
  const { data, problem } = rows;
  return (
    <Box>
      {problem && <Trouble problem={problem} at={rows.at} retry={rows.reload} />}
      {data === undefined && !problem && <Loading what={props.what} />}
      {data && data.items.length === 0 && (
        <Empty {...(props.filtered ? { title: words.table.noMatch } : props.empty)} />
      )}
      {data && data.items.length > 0 && (
        <Box overflowX="auto" borderWidth="1px" borderRadius="md" bg="bg">
          <Chakra.Root size="sm" aria-label={props.label} interactive>
            <Chakra.Header>
              <Chakra.Row bg="bg.subtle">
                {columns.map((column) => (
                  <Head key={column.id} column={column} list={list} />
                ))}
              </Chakra.Row>
            </Chakra.Header>
            <Chakra.Body>
              {data.items.map((row) => (
                <Fragment key={props.rowKey(row)}>
                  <Chakra.Row>
                    {columns.map((column) => (
                      <Chakra.Cell
                        key={column.id}
                        verticalAlign="top"
                        {...(column.numeric && {
                          textAlign: "end",
                          whiteSpace: "nowrap",
                          fontVariantNumeric: "tabular-nums",
                        })}
                      >
                        {column.cell(row)}
                      </Chakra.Cell>
                    ))}
                  </Chakra.Row>
                  {props.below?.(row)}
                </Fragment>
              ))}
            </Chakra.Body>
          </Chakra.Root>
        </Box>
      )}
      {data && data.total > 0 && <Pager page={data} list={list} />}
    </Box>
  );
}

function Head<Row>({ column, list }: { column: Column<Row>; list: ListState }) {
  const own = column.sort !== undefined && list.sort === column.sort;
  const order = list.descending ? "descending" : "ascending";
  return (
    <Chakra.ColumnHeader
      textAlign={column.numeric ? "end" : "start"}
      whiteSpace="nowrap"
      fontWeight="medium"
      color="fg.muted"
      {...(column.width !== undefined && { width: column.width })}
      {...(own && { "aria-sort": order })}
    >
      {column.hidden ? (
        <VisuallyHidden>{column.title}</VisuallyHidden>
      ) : column.sort === undefined ? (
        column.title
      ) : (
        <Button
          variant="plain"
          size="xs"
          p={0}
          h="auto"
          minW={0}
          fontSize="inherit"
          color="inherit"
          aria-label={words.table.sortBy(column.title)}
          title={words.table.sortBy(column.title)}
          onClick={() => list.setSort(column.sort ?? "")}
        >
          {column.title}
          <Box as="span" aria-hidden="true" opacity={own ? 1 : 0.35}>
            {own && !list.descending ? "↑" : "↓"}
          </Box>
        </Button>
      )}
    </Chakra.ColumnHeader>
  );
}

function Pager<Row>({ page, list }: { page: Page<Row>; list: ListState }) {
  const last = page.offset + page.items.length;
  return (
    <Flex justify="space-between" align="center" mt={2} gap={3} wrap="wrap">
      <Text fontSize="sm" color="fg.muted">
        {words.table.range(
          count(page.items.length > 0 ? page.offset + 1 : 0),
          count(last),
          count(page.total),
        )}
      </Text>
      <HStack>
        <NativeSelect.Root size="xs" width="5rem">
          <NativeSelect.Field
            aria-label={words.table.size}
            value={list.limit}
            onChange={(event) => list.setPage(0, Number(event.target.value))}
          >
            {SIZES.map((size) => (
              <option key={size} value={size}>
                {size}
              </option>
            ))}
          </NativeSelect.Field>
          <NativeSelect.Indicator />
        </NativeSelect.Root>
        <Button
          size="xs"
          variant="outline"
          aria-label={words.table.previous}
          disabled={page.offset === 0}
          onClick={() => list.setPage(Math.max(0, page.offset - list.limit))}
        >
          ‹
        </Button>
        <Button
          size="xs"
          variant="outline"
          aria-label={words.table.next}
          disabled={last >= page.total}
          onClick={() => list.setPage(page.offset + list.limit)}
        >
          ›
        </Button>
      </HStack>
    </Flex>
  );
}
