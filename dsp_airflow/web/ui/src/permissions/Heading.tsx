/** Who is looked at: a user's roles, or a role's members and how they change. */

import { Badge, Box, Button, Flex, Heading as Head, HStack, Text } from "@chakra-ui/react";
import { useState } from "react";
import { places } from "../address";
import { address, type Page } from "../api";
import { To } from "../parts/layout";
import { Trouble } from "../parts/States";
import { usePolled } from "../polling";
import type { Me, RoleLine, UserLine } from "../shapes";
import { words } from "../words";
import type { Holder } from "./PermissionsPage";
import { AddMember, DeleteRole, RemoveMember } from "./RoleDialogs";

const text = words.permissions;
const EVERY = 10_000;

export function Heading({ me, holder }: { me: Me; holder: Holder }) {
  return (
    <Box mb={3}>
      <Head as="h2" size="md" overflowWrap="anywhere">
        {holder.isRole ? text.role(holder.name) : text.user(holder.name)}
      </Head>
      {holder.isRole
        ? me.may_change_roles && <Role name={holder.name} />
        : (me.may_change_roles || holder.name === me.name) && <User name={holder.name} />}
    </Box>
  );
}

function User({ name }: { name: string }) {
  const found = usePolled<Page<UserLine>>(address("users", { name, limit: 100 }), EVERY);
  const user = found.data?.items.find((one) => one.name === name);
  if (found.problem) {
    return <Trouble problem={found.problem} at={found.at} retry={found.reload} />;
  }
  if (user === undefined) {
    return null;
  }
  return (
    <Text color="fg.muted">
      {user.administrator && (
        <>
          <Badge variant="outline">{text.administrator}</Badge> {text.administers}{" "}
        </>
      )}
      {user.roles.length > 0 ? text.hasRoles("") : text.noRoles}
      {user.roles.map((role, at) => (
        <span key={role}>
          {at > 0 && ", "}
          <To to={places.permissions({ role })}>{role}</To>
        </span>
      ))}
    </Text>
  );
}

type Asked = { act: "add" } | { act: "remove"; user: string } | { act: "delete" };

function Role({ name }: { name: string }) {
  const found = usePolled<Page<RoleLine>>(address("roles", { limit: 500 }), EVERY);
  const [asked, setAsked] = useState<Asked>();
  const role = found.data?.items.find((one) => one.role === name);
  const close = () => {
    setAsked(undefined);
    found.reload();
  };
  if (found.problem) {
    return <Trouble problem={found.problem} at={found.at} retry={found.reload} />;
  }
  const members = role?.members ?? [];
  const processes = role?.processes ?? [];
  return (
    <>
      {processes.length > 0 && <Text color="fg.muted">{text.askedBy(processes.join(", "))}</Text>}
      <Flex gap={2} mt={2} wrap="wrap" align="center">
        {found.data && members.length === 0 && <Text color="fg.muted">{text.nobody}</Text>}
        {members.map((user) => (
          <HStack key={user} gap={1} borderWidth="1px" borderRadius="full" ps={3} pe={1}>
            <To to={places.permissions({ user })}>{user}</To>
            <Button
              size="2xs"
              variant="ghost"
              borderRadius="full"
              aria-label={text.removeMember(user)}
              title={text.removeMember(user)}
              onClick={() => setAsked({ act: "remove", user })}
            >
              ×
            </Button>
          </HStack>
        ))}
        <Button size="xs" variant="outline" onClick={() => setAsked({ act: "add" })}>
          {text.addMember}
        </Button>
        {role && processes.length === 0 && name !== ADMINISTRATORS && (
          <Button
            size="xs"
            variant="outline"
            colorPalette="red"
            onClick={() => setAsked({ act: "delete" })}
          >
            {text.deleteRole}
          </Button>
        )}
      </Flex>
      {asked?.act === "add" && <AddMember role={name} onClose={close} />}
      {asked?.act === "remove" && <RemoveMember role={name} user={asked.user} onClose={close} />}
      {asked?.act === "delete" && <DeleteRole role={name} members={members} onClose={close} />}
    </>
  );
}

/** Which role the server never deletes. */
const ADMINISTRATORS = "administrators";
