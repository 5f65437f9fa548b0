/** Which column goes where, and what becomes of its values. */

import { Box, Code, Table } from "@chakra-ui/react";
import type { TypePair } from "../shapes";
import { words } from "../words";

const titles = words.request.typeColumns;

export function Types({ pairs }: { pairs: readonly TypePair[] }) {
  return (
    <Box overflowX="auto">
      <Table.Root size="sm" aria-label={words.request.types}>
        <Table.Header>
          <Table.Row>
            <Table.ColumnHeader>{titles.source}</Table.ColumnHeader>
            <Table.ColumnHeader>{titles.target}</Table.ColumnHeader>
            <Table.ColumnHeader>{titles.fit}</Table.ColumnHeader>
            <Table.ColumnHeader>{titles.note}</Table.ColumnHeader>
          </Table.Row>
        </Table.Header>
        <Table.Body>
          {pairs.map((one) => (
            <Table.Row key={`${one.source} ${one.target}`}>
              <Table.Cell>
                {one.source} <Code fontSize="xs">{one.source_type}</Code>
              </Table.Cell>
              <Table.Cell>
                {one.target} <Code fontSize="xs">{one.target_type}</Code>
              </Table.Cell>
              <Table.Cell color={one.fit === "lossy" ? "red.fg" : "inherit"}>{one.fit}</Table.Cell>
              <Table.Cell>{one.note ?? ""}</Table.Cell>
            </Table.Row>
          ))}
        </Table.Body>
      </Table.Root>
    </Box>
  );
}
