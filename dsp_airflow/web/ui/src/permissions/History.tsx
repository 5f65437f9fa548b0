/** What was given and taken, as the audit has it. */

import { Text } from "@chakra-ui/react";
import { List, useList } from "../parts/List";
import type { Column } from "../parts/Table";
import { Moment } from "../parts/values";
import type { AuditRecord } from "../shapes";
import { words } from "../words";
import { tell } from "./history";
import type { Holder } from "./PermissionsPage";

const text = words.permissions;
const ACTIONS = ["grant", "role", "administrator"] as const;
const EVERY = 15_000;

export function History({ holder }: { holder: Holder | undefined }) {
  const list = useList<AuditRecord>({
    route: "audit",
    query: { action: ACTIONS, names: holder?.name },
    every: EVERY,
  });
  const titles = text.historyColumns;
  const columns: Column<AuditRecord>[] = [
    { id: "at", title: titles.at, cell: (one) => <Moment at={one.recorded_at} /> },
    { id: "by", title: titles.by, cell: (one) => one.actor },
    {
      id: "what",
      title: titles.what,
      cell: (one) => <Text overflowWrap="anywhere">{tell(one)}</Text>,
    },
    { id: "address", title: titles.address, cell: (one) => one.address ?? "–" },
  ];
  return (
    <List
      list={list}
      what={text.history}
      label={text.tabs.history}
      columns={columns}
      rowKey={(one) => String(one.seq)}
      empty={{ title: text.noHistory }}
      filtered={holder !== undefined}
    />
  );
}
