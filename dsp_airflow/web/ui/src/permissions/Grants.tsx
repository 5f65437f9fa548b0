/** Grants, each with what it allows, until when, and who gave it. */

import { Badge, Box, Button, Text } from "@chakra-ui/react";
import { useState } from "react";
import { places } from "../address";
import { address, path, send } from "../api";
import { Confirm } from "../parts/Confirm";
import { type Filter, List, useList } from "../parts/List";
import { To } from "../parts/layout";
import type { Column } from "../parts/Table";
import { Moment } from "../parts/values";
import type { GrantLine, Privilege } from "../shapes";
import { words } from "../words";
import { holderText, mayText, PRIVILEGES, scopeText } from "./draft";
import { addressOf, type Holder } from "./PermissionsPage";

const text = words.permissions;
const FILTERS: readonly Filter[] = [
  { kind: "text", name: "connection", label: text.connection },
  {
    kind: "choice",
    name: "privilege",
    label: text.privilege,
    any: text.anyPrivilege,
    options: text.privileges,
  },
  { kind: "choice", name: "over", label: text.ended, any: text.notEnded, options: text.withEnded },
];
const EVERY = 10_000;

export function Grants({ holder }: { holder: Holder | undefined }) {
  const list = useList<GrantLine>({
    route: "grants",
    query: { holder: holder?.name, is_role: holder?.isRole },
    filters: FILTERS,
    every: EVERY,
  });
  const [asked, setAsked] = useState<GrantLine>();
  const titles = text.columns;
  const all: (Column<GrantLine> | false)[] = [
    holder === undefined && {
      id: "holder",
      title: titles.holder,
      cell: (one) => (
        <Box minW="6rem">
          <To to={places.permissions(addressOf({ name: one.holder, isRole: one.is_role }))}>
            {one.holder}
          </To>
          {one.is_role && (
            <Text fontSize="xs" color="fg.muted">
              {text.roleMark}
            </Text>
          )}
        </Box>
      ),
    },
    {
      id: "scope",
      title: titles.scope,
      cell: (one) => (
        <Box minW="8rem" overflowWrap="anywhere">
          {scopeText(one)}
        </Box>
      ),
    },
    ...PRIVILEGES.map((privilege) => ({
      id: privilege,
      title: text.privileges[privilege],
      cell: (one: GrantLine) => <Held grant={one} privilege={privilege} />,
    })),
    {
      id: "until",
      title: titles.until,
      cell: (one) => (
        <Box minW="8rem">
          <Until grant={one} />
          <Text fontSize="xs" color="fg.muted">
            {text.given} <Moment at={one.granted_at} /> {text.by(one.granted_by)}
            {one.request && (
              <>
                {", "}
                <To to={places.request(one.request)}>{text.request}</To>
              </>
            )}
          </Text>
        </Box>
      ),
    },
    {
      id: "actions",
      title: titles.actions,
      cell: (one) =>
        one.may_revoke && (
          <Button
            size="xs"
            variant="outline"
            colorPalette="red"
            aria-label={text.revokeOne(scopeText(one), holderText(one.holder, one.is_role))}
            onClick={() => setAsked(one)}
          >
            {text.revoke}
          </Button>
        ),
    },
  ];
  return (
    <>
      <List
        list={list}
        what={text.grants}
        label={text.tabs.grants}
        columns={all.filter((one) => one !== false)}
        rowKey={(one) => one.id}
        empty={{ title: text.empty, step: text.emptyStep }}
      />
      {asked && (
        <Revoke
          grant={asked}
          onClose={() => {
            setAsked(undefined);
            list.rows.reload();
          }}
        />
      )}
    </>
  );
}

function Held({ grant, privilege }: { grant: GrantLine; privilege: Privilege }) {
  if (!grant.privileges.includes(privilege)) {
    return null;
  }
  return (
    <Text as="span" color="fg.success" fontWeight="bold" role="img" aria-label={text.held}>
      ✓
    </Text>
  );
}

function Until({ grant }: { grant: GrantLine }) {
  if (grant.until === null) {
    return <Text color="fg.muted">{text.forever}</Text>;
  }
  return (
    <>
      <Moment at={grant.until} /> {grant.over && <Badge variant="outline">{text.over}</Badge>}
    </>
  );
}

function Revoke({ grant, onClose }: { grant: GrantLine; onClose: () => void }) {
  const who = holderText(grant.holder, grant.is_role);
  const scope = scopeText(grant);
  return (
    <Confirm
      title={text.revokeTitle(who, scope)}
      consequence={text.revokeConsequence(who, mayText(grant.privileges), scope)}
      action={text.revoke}
      danger
      onConfirm={async () => {
        await send("DELETE", address(path("grants", grant.id)), {});
      }}
      onClose={onClose}
    />
  );
}
