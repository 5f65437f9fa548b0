/** Changes of a role, each asked once. */

import { useState } from "react";
import { useNavigate } from "react-router-dom";
import { places } from "../address";
import { address, type Page, path, send } from "../api";
import { count } from "../format";
import { Confirm } from "../parts/Confirm";
import { TextField } from "../parts/Fields";
import { usePolled } from "../polling";
import type { GrantLine } from "../shapes";
import { words } from "../words";

const text = words.permissions;

interface DialogProps {
  role: string;
  onClose: () => void;
}

const member = (role: string, user: string) => address(path("roles", role, "members", user));

/** A role begins with its first member. */
export function NewRole({ users, onClose }: { users?: string[] | undefined; onClose: () => void }) {
  const [role, setRole] = useState("");
  const [user, setUser] = useState("");
  const navigate = useNavigate();
  return (
    <Confirm
      title={text.newRole}
      consequence={`${text.newRoleConsequence} ${text.addMemberConsequence(user.trim(), role.trim())}`}
      action={text.newRole}
      ready={role.trim() !== "" && user.trim() !== ""}
      onConfirm={async () => {
        await send("PUT", member(role.trim(), user.trim()), {});
        await navigate(places.permissions({ role: role.trim() }));
      }}
      onClose={onClose}
    >
      <TextField label={text.roleName} value={role} set={setRole} />
      <TextField label={text.member} value={user} set={setUser} known={users} />
    </Confirm>
  );
}

export function AddMember({ role, onClose }: DialogProps) {
  const [user, setUser] = useState("");
  return (
    <Confirm
      title={text.addMemberTitle(role)}
      consequence={text.addMemberConsequence(user.trim(), role)}
      action={text.addMember}
      ready={user.trim() !== ""}
      onConfirm={async () => {
        await send("PUT", member(role, user.trim()), {});
      }}
      onClose={onClose}
    >
      <TextField label={text.member} value={user} set={setUser} />
    </Confirm>
  );
}

export function RemoveMember({ role, user, onClose }: DialogProps & { user: string }) {
  return (
    <Confirm
      title={text.removeMemberTitle(role, user)}
      consequence={text.removeMemberConsequence(role, user)}
      action={text.removeMemberAction}
      danger
      onConfirm={async () => {
        await send("DELETE", member(role, user), {});
      }}
      onClose={onClose}
    />
  );
}

export function DeleteRole({ role, members, onClose }: DialogProps & { members: string[] }) {
  const navigate = useNavigate();
  const its = { holder: role, is_role: true, over: true, limit: 1 };
  const grants = usePolled<Page<GrantLine>>(address("grants", its), null);
  return (
    <Confirm
      title={text.deleteRoleTitle(role)}
      consequence={text.deleteRoleConsequence(
        members.join(", ") || text.nobody,
        count(grants.data?.total),
      )}
      action={text.deleteRole}
      danger
      // What goes with it has to be said first.
      ready={grants.data !== undefined}
      onConfirm={async () => {
        await send("DELETE", address(path("roles", role)), {});
        await navigate(places.permissions());
      }}
      onClose={onClose}
    />
  );
}
