/** Users and roles, to choose one of. */

import { Badge, Box, Button, Link as ChakraLink, Input, Stack, Text } from "@chakra-ui/react";
import { type ReactNode, useState } from "react";
import { Link } from "react-router-dom";
import { places } from "../address";
import { address, type Page } from "../api";
import { count } from "../format";
import { Loading, Trouble } from "../parts/States";
import { usePolled } from "../polling";
import type { Me, RoleLine, UserLine } from "../shapes";
import { words } from "../words";
import { addressOf, type Holder } from "./PermissionsPage";
import { NewRole } from "./RoleDialogs";

const text = words.permissions;
const EVERY = 15_000;
const SHOWN = 50;

interface PeopleProps {
  me: Me;
  holder: Holder | undefined;
  shown: "grants" | "history";
}

export function People({ me, holder, shown }: PeopleProps) {
  const to = shown === "history" ? places.grantHistory : places.permissions;
  const link = (one: Holder | undefined) => ({
    to: to(addressOf(one)),
    current: one?.name === holder?.name && one?.isRole === holder?.isRole,
  });
  return (
    <Stack as="nav" aria-label={text.people} gap={1}>
      <Entry {...link(undefined)}>{text.everybody}</Entry>
      {me.may_change_roles ? (
        <Known link={link} />
      ) : (
        <>
          <Group title={text.users}>
            <Entry {...link({ name: me.name, isRole: false })}>{me.name}</Entry>
          </Group>
          {me.roles.length > 0 && (
            <Group title={text.roles}>
              {me.roles.map((role) => (
                <Entry key={role} {...link({ name: role, isRole: true })}>
                  {role}
                </Entry>
              ))}
            </Group>
          )}
        </>
      )}
    </Stack>
  );
}

/** All of them, for who may change roles. */
function Known({ link }: { link: (one: Holder) => { to: string; current: boolean } }) {
  const [part, setPart] = useState("");
  const [asks, setAsks] = useState(false);
  const users = usePolled<Page<UserLine>>(address("users", { name: part, limit: SHOWN }), EVERY);
  const roles = usePolled<Page<RoleLine>>(address("roles", { limit: 500 }), EVERY);
  const named = roles.data?.items.filter((one) =>
    one.role.toLowerCase().includes(part.toLowerCase()),
  );
  return (
    <>
      <Input
        size="xs"
        type="search"
        my={1}
        aria-label={text.find}
        placeholder={text.find}
        value={part}
        onChange={(event) => setPart(event.target.value)}
      />
      {[users, roles].map(
        (one, at) =>
          one.problem && (
            <Trouble
              key={at === 0 ? "users" : "roles"}
              problem={one.problem}
              at={one.at}
              retry={one.reload}
            />
          ),
      )}
      {!users.data && !users.problem && <Loading what={text.people} />}
      <Group title={text.users}>
        {users.data?.items.map((one) => (
          <Entry key={one.name} {...link({ name: one.name, isRole: false })}>
            {one.name}
            {one.administrator && (
              <Badge size="xs" variant="outline">
                {text.administrator}
              </Badge>
            )}
          </Entry>
        ))}
        {users.data && users.data.total > users.data.items.length && (
          <Text fontSize="xs" color="fg.muted" px={2}>
            {text.more(count(users.data.total - users.data.items.length))}
          </Text>
        )}
      </Group>
      <Group title={text.roles}>
        {named?.map((one) => (
          <Entry key={one.role} {...link({ name: one.role, isRole: true })}>
            {one.role}
            <Text as="span" color="fg.muted" fontVariantNumeric="tabular-nums">
              {count(one.members.length)}
            </Text>
          </Entry>
        ))}
        <Button size="xs" variant="outline" mt={1} onClick={() => setAsks(true)}>
          {text.newRole}
        </Button>
      </Group>
      {asks && (
        <NewRole
          users={users.data?.items.map((one) => one.name)}
          onClose={() => {
            setAsks(false);
            roles.reload();
            users.reload();
          }}
        />
      )}
    </>
  );
}

function Group({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Box mt={2}>
      <Text fontSize="xs" color="fg.muted" px={2} mb={1}>
        {title}
      </Text>
      <Stack gap={0.5} maxH="24rem" overflowY="auto" tabIndex={-1}>
        {children}
      </Stack>
    </Box>
  );
}

function Entry(props: { to: string; current: boolean; children: ReactNode }) {
  return (
    <ChakraLink
      asChild
      px={2}
      py={1}
      borderRadius="md"
      justifyContent="space-between"
      overflowWrap="anywhere"
      bg={props.current ? "brand.muted" : "transparent"}
      fontWeight={props.current ? "semibold" : "normal"}
      _hover={{ bg: "brand.subtle", textDecoration: "none" }}
    >
      <Link to={props.to} aria-current={props.current ? "true" : undefined}>
        {props.children}
      </Link>
    </ChakraLink>
  );
}
