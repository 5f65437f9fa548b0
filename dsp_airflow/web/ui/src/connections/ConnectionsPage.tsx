/** The connections that tasks use: what for, and whether they can do their work. */

import { Box, Button, Link as ChakraLink, Text } from "@chakra-ui/react";
import { useState } from "react";
import { Link } from "react-router-dom";
import { places } from "../address";
import { type Filter, List, useList } from "../parts/List";
import { Title, To } from "../parts/layout";
import type { Column } from "../parts/Table";
import { Pill } from "../parts/values";
import type { ConnectionLine, Me } from "../shapes";
import { words } from "../words";
import { Findings } from "./Findings";

const text = words.connections;
const titles = text.columns;
const FILTERS: readonly Filter[] = [
  { kind: "text", name: "name", label: titles.name },
  { kind: "choice", name: "type", label: titles.type, any: text.anyType, options: text.types },
  { kind: "choice", name: "used", label: text.used, any: text.anyUse, options: text.uses },
];
const EVERY = 15_000;
/** Tasks that are named at once. */
const NAMED = 5;

export function ConnectionsPage({ me }: { me: Me | undefined }) {
  const list = useList<ConnectionLine>({ route: "connections", filters: FILTERS, every: EVERY });
  // By connection, how often its test was asked for.
  const [tested, setTested] = useState<Readonly<Record<string, number>>>({});
  const mayEdit = me?.may_edit_connections === true;
  const columns: Column<ConnectionLine>[] = [
    {
      id: "name",
      title: titles.name,
      cell: (one) => (
        <Box minW="10rem" overflowWrap="anywhere">
          <Text fontWeight="medium">{one.name}</Text>
          {mayEdit && (
            <Text fontSize="xs">
              <To to={places.airflowConnections(one.type === null ? "" : one.name)}>
                {one.type === null ? text.create : text.edit}
              </To>
            </Text>
          )}
        </Box>
      ),
    },
    { id: "type", title: titles.type, cell: (one) => <System type={one.type} /> },
    { id: "source", title: titles.source, cell: (one) => <Tasks names={one.source_of} /> },
    { id: "target", title: titles.target, cell: (one) => <Tasks names={one.target_of} /> },
    {
      id: "test",
      title: titles.test,
      cell: (one) =>
        one.may_test &&
        one.type !== null && (
          <Button
            size="xs"
            variant="outline"
            aria-label={text.testOf(one.name)}
            onClick={() => {
              setTested((before) => ({ ...before, [one.name]: (before[one.name] ?? 0) + 1 }));
              list.opened.add(one.name);
            }}
          >
            {text.test}
          </Button>
        ),
    },
  ];
  return (
    <>
      <Title
        actions={
          mayEdit && (
            <Button asChild size="sm" variant="outline">
              <Link to={places.airflowConnections()}>{text.create}</Link>
            </Button>
          )
        }
      >
        {text.title}
      </Title>
      <List
        list={list}
        what={text.connections}
        label={text.title}
        columns={columns}
        rowKey={(one) => one.name}
        below={(one) =>
          tested[one.name] !== undefined && (
            <Findings key={tested[one.name]} connection={one.name} />
          )
        }
        empty={{ title: text.empty, step: text.emptyStep }}
      />
    </>
  );
}

function System({ type }: { type: string | null }) {
  if (type === null) {
    return (
      <>
        <Pill colours="failed" text={text.missing} />
        <Text fontSize="xs" color="fg.muted">
          {text.missingStep}
        </Text>
      </>
    );
  }
  return <>{text.types[type] ?? type}</>;
}

function Tasks({ names }: { names: readonly string[] }) {
  const [all, setAll] = useState(false);
  if (names.length === 0) {
    return <>{text.none}</>;
  }
  const shown = all ? names : names.slice(0, NAMED);
  return (
    <Box maxW="26rem" overflowWrap="anywhere">
      {shown.map((name, at) => (
        <span key={name}>
          {at > 0 && ", "}
          <ChakraLink asChild color="fg.info">
            <Link to={`${places.scheduling}?name=${encodeURIComponent(name)}`}>{name}</Link>
          </ChakraLink>
        </span>
      ))}
      {names.length > shown.length && (
        <Button size="2xs" variant="ghost" onClick={() => setAll(true)}>
          {text.tasks(names.length)}
        </Button>
      )}
    </Box>
  );
}
