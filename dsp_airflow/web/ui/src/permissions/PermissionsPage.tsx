/** Who may do what: users and roles at the left, and their grants; what was given and taken. */

import { Box, Flex } from "@chakra-ui/react";
import { useParams, useSearchParams } from "react-router-dom";
import { places } from "../address";
import { Tabs, Title } from "../parts/layout";
import type { Me } from "../shapes";
import { words } from "../words";
import { Ask } from "./Ask";
import { Grants } from "./Grants";
import { Heading } from "./Heading";
import { History } from "./History";
import { People } from "./People";

const text = words.permissions;

/** A user or a role; neither: everybody. */
export interface Holder {
  name: string;
  isRole: boolean;
}

export function PermissionsPage({ me }: { me: Me | undefined }) {
  const { tab } = useParams();
  const [params] = useSearchParams();
  const [user, role] = [params.get("user"), params.get("role")];
  const holder: Holder | undefined =
    role !== null
      ? { name: role, isRole: true }
      : user !== null
        ? { name: user, isRole: false }
        : undefined;
  const shown = tab === "history" && me?.may_see_audit ? "history" : "grants";
  const of = addressOf(holder);
  return (
    <>
      <Title actions={me && <Ask me={me} holder={holder} />}>{words.pages.permissions}</Title>
      <Flex gap={6} align="start" direction={{ base: "column", lg: "row" }}>
        <Box w={{ base: "full", lg: "12rem" }} flexShrink={0}>
          {me && <People me={me} holder={holder} shown={shown} />}
        </Box>
        <Box flex="1" minW={0} w="full">
          {me && holder && <Heading key={`${role} ${user}`} me={me} holder={holder} />}
          {me?.may_see_audit && (
            <Tabs
              label={words.pages.permissions}
              tabs={[
                {
                  to: places.permissions(of),
                  text: text.tabs.grants,
                  current: shown === "grants",
                },
                {
                  to: places.grantHistory(of),
                  text: text.tabs.history,
                  current: shown === "history",
                },
              ]}
            />
          )}
          {shown === "history" ? <History holder={holder} /> : <Grants holder={holder} />}
        </Box>
      </Flex>
    </>
  );
}

/** What of the address says who is chosen. */
export function addressOf(holder: Holder | undefined): Record<string, string> {
  if (holder === undefined) {
    return {};
  }
  return holder.isRole ? { role: holder.name } : { user: holder.name };
}
