/** Approval processes: which there are, in which order they are tried, and what each says. */

import { Box, Button, HStack, List as Lines, Stack, Text } from "@chakra-ui/react";
import { useState } from "react";
import { Link } from "react-router-dom";
import { places } from "../address";
import { address, path, send } from "../api";
import { Confirm } from "../parts/Confirm";
import { type Filter, List, useList } from "../parts/List";
import { Facts, Title, To } from "../parts/layout";
import type { Column } from "../parts/Table";
import { Fact, Moment, StateBadge } from "../parts/values";
import type { ProcessLine, ProcessNode, ProcessPage } from "../shapes";
import { words } from "../words";
import { Ordering } from "./Ordering";

const text = words.processes;
const titles = text.columns;
const { anyState, anyType } = words.approvals;
const FILTERS: readonly Filter[] = [
  { kind: "text", name: "name", label: titles.name },
  { kind: "choice", name: "type", label: titles.type, any: anyType, options: words.types },
  { kind: "text", name: "creator", label: titles.creator },
  { kind: "choice", name: "status", label: titles.state, any: anyState, options: text.states },
];
const EVERY = 10_000;

export function ProcessesPage() {
  const list = useList<ProcessLine, ProcessPage>({
    route: "processes",
    filters: FILTERS,
    sort: "priority",
    descending: false,
    every: EVERY,
  });
  const { rows, opened } = list;
  const chosen = list.chosen.all;
  const [asked, setAsked] = useState<"delete" | "order">();
  const columns: Column<ProcessLine>[] = [
    {
      id: "name",
      title: titles.name,
      sort: "name",
      cell: (one) => (
        <>
          <Button
            variant="plain"
            size="sm"
            p={0}
            h="auto"
            color="fg.info"
            whiteSpace="normal"
            aria-expanded={opened.all.has(one.name)}
            onClick={() => opened.toggle(one.name)}
          >
            {one.name}
          </Button>
          {one.file && (
            <Text fontSize="xs" color="fg.muted" overflowWrap="anywhere">
              {text.file(one.file)}
            </Text>
          )}
        </>
      ),
    },
    {
      id: "type",
      title: titles.type,
      sort: "task_type",
      cell: (one) => words.types[one.task_type] ?? one.task_type,
    },
    {
      id: "levels",
      title: titles.levels,
      cell: (one) =>
        (one.values.levels ?? [])
          .map((level, at) => words.request.level(at + 1, level.name || null))
          .join(", "),
    },
    { id: "connections", title: titles.connections, cell: connectionsOf },
    {
      id: "creator",
      title: titles.creator,
      sort: "created_by",
      cell: (one) => one.created_by ?? "–",
    },
    {
      id: "state",
      title: titles.state,
      sort: "enabled",
      cell: (one) => {
        const state = one.enabled ? "enabled" : "disabled";
        return <StateBadge state={state} text={text.states[state]} />;
      },
    },
    {
      id: "changed",
      title: titles.changed,
      sort: "changed_at",
      cell: (one) => <Moment at={one.changed_at ?? one.created_at} />,
    },
  ];
  return (
    <>
      <Title
        actions={
          <>
            <Button size="sm" variant="outline" onClick={() => setAsked("order")}>
              {text.order}
            </Button>
            <Button
              size="sm"
              variant="outline"
              colorPalette="red"
              disabled={chosen.size === 0}
              onClick={() => setAsked("delete")}
            >
              {text.delete(chosen.size)}
            </Button>
            <Button asChild size="sm" colorPalette="brand">
              <Link to={places.newProcess}>{text.create}</Link>
            </Button>
          </>
        }
      >
        {text.title}
      </Title>
      <Broken rows={rows.data} />
      <List
        list={list}
        what={text.processes}
        label={text.title}
        columns={columns}
        rowKey={(one) => one.name}
        below={(one) => <Process process={one} done={rows.reload} />}
        choose={(one) => (one.file === null ? text.choose(one.name) : null)}
        empty={{ title: text.empty, step: text.emptyStep }}
      />
      {asked === "order" && (
        <Ordering
          onClose={() => {
            setAsked(undefined);
            rows.reload();
          }}
        />
      )}
      {asked === "delete" && (
        <Confirm
          title={text.deleteTitle(chosen.size)}
          consequence={text.deleteConsequence([...chosen].join(", "))}
          action={text.delete(chosen.size)}
          danger
          onConfirm={async () => {
            for (const name of chosen) {
              await send("DELETE", address(path("processes", name)), {});
              // One that is gone is not asked for again where a later one fails.
              list.chosen.remove(name);
            }
          }}
          onClose={() => {
            setAsked(undefined);
            rows.reload();
          }}
        />
      )}
    </>
  );
}

function Broken({ rows }: { rows: ProcessPage | undefined }) {
  if (!rows || rows.broken.length === 0) {
    return null;
  }
  return (
    <Box borderStartWidth="4px" borderStartColor="failed.solid" ps={3} mb={4}>
      <Text fontWeight="semibold">{text.broken}</Text>
      <Lines.Root ps={4}>
        {rows.broken.map((one) => (
          <Lines.Item key={`${one.where} ${one.message}`}>
            {one.where} {one.message} {one.suggestion}
          </Lines.Item>
        ))}
      </Lines.Root>
    </Box>
  );
}

function connectionsOf({ values }: ProcessLine): string {
  const { connections = "all" } = values;
  if (connections === "all") {
    return text.allConnections;
  }
  const { names = [], labels = [] } = connections;
  return [...names, ...labels.map(text.label)].join(", ");
}

/** Basics, levels with their nodes, periods, and who made it. */
function Process({ process, done }: { process: ProcessLine; done: () => void }) {
  const { values } = process;
  return (
    <Stack gap={4} py={1}>
      <Actions process={process} done={done} />
      <Facts>
        <Fact label={titles.connections}>{connectionsOf(process)}</Fact>
        {(["approval", "waiting", "execution"] as const).map((name) => (
          <Fact key={name} label={words.request.clockNames[name]}>
            {values.validity?.[name] ?? "–"}
          </Fact>
        ))}
        <Fact label={text.fields.start}>{text.starts[values.start ?? "automatic"]}</Fact>
        <Fact label={text.fields.approve}>{text.approves[values.approve ?? "run"]}</Fact>
        <Fact label={text.fields.priority}>{process.priority}</Fact>
        <Fact label={titles.creator}>
          {process.created_by ?? "–"} <Moment at={process.created_at} />
        </Fact>
        {values.remarks && <Fact label={text.fields.remarks}>{values.remarks}</Fact>}
      </Facts>
      <Lines.Root as="ol" gap={2} variant="plain">
        {(values.levels ?? []).map((level, at) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a level is its place
          <Lines.Item key={at} display="block">
            <Text fontWeight="medium">{words.request.level(at + 1, level.name || null)}</Text>
            <Text color="fg.muted" fontSize="xs">
              {(level.subtypes ?? []).join(", ")}
              {level.max_rows !== null &&
                level.max_rows !== undefined &&
                `, ${text.mostRows(String(level.max_rows))}`}
            </Text>
            <Text>{(level.nodes ?? []).map(nodeText).join(" → ")}</Text>
          </Lines.Item>
        ))}
      </Lines.Root>
    </Stack>
  );
}

function nodeText(node: ProcessNode): string {
  if (node.automatic) {
    return text.nodeKinds.automatic;
  }
  return node.role !== undefined ? text.role(node.role) : text.user(node.user ?? "");
}

function Actions({ process, done }: { process: ProcessLine; done: () => void }) {
  const [asks, setAsks] = useState(false);
  if (process.file !== null) {
    return <Text color="fg.muted">{text.inFile(process.file)}</Text>;
  }
  const act = process.enabled ? "disable" : "enable";
  return (
    <HStack>
      <To to={places.editProcess(process.name)}>{text.edit}</To>
      <Button size="xs" variant="outline" onClick={() => setAsks(true)}>
        {text.switch[act]}
      </Button>
      {asks && (
        <Confirm
          title={text.switchTitles[act](process.name)}
          consequence={text.switchConsequences[act]}
          action={text.switch[act]}
          danger={act === "disable"}
          onConfirm={async () => {
            await send("POST", address(path("processes", process.name, act)), {});
            done();
          }}
          onClose={() => setAsks(false)}
        />
      )}
    </HStack>
  );
}
