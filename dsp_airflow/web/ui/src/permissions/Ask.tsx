/** Giving a grant, for who may; applying for one, for everybody. */

import { Button, Flex, HStack, Text } from "@chakra-ui/react";
import { useState } from "react";
import { places } from "../address";
import { address, type Page, send } from "../api";
import { Confirm } from "../parts/Confirm";
import { Check, Choice, TextField } from "../parts/Fields";
import { To } from "../parts/layout";
import { usePolled } from "../polling";
import type { ConnectionLine, Me, RequestDetail } from "../shapes";
import { words } from "../words";
import {
  type Draft,
  emptyDraft,
  holderText,
  mayText,
  missing,
  PRIVILEGES,
  scopeOf,
  scopeText,
  valuesOf,
} from "./draft";
import type { Holder } from "./PermissionsPage";

const text = words.permissions;

export function Ask({ me, holder }: { me: Me; holder: Holder | undefined }) {
  const [asked, setAsked] = useState<"give" | "apply">();
  const [applied, setApplied] = useState<RequestDetail>();
  const close = () => setAsked(undefined);
  return (
    <>
      {applied && (
        <Text alignSelf="center">
          {text.applied} <To to={places.request(applied.id)}>{applied.title}</To>
        </Text>
      )}
      <Button size="sm" variant="outline" onClick={() => setAsked("apply")}>
        {text.apply}
      </Button>
      {me.may_give_grants && (
        <Button size="sm" colorPalette="brand" onClick={() => setAsked("give")}>
          {text.give}
        </Button>
      )}
      {asked === "give" && <Give holder={holder} onClose={close} />}
      {asked === "apply" && <Apply done={setApplied} onClose={close} />}
    </>
  );
}

function Give({ holder, onClose }: { holder: Holder | undefined; onClose: () => void }) {
  const [draft, setDraft] = useState(() => emptyDraft(holder?.name, holder?.isRole));
  const lacks = missing(draft, false);
  const who = holderText(draft.holder.trim(), draft.isRole);
  return (
    <Confirm
      title={text.giveTitle}
      consequence={
        lacks ??
        text.giveConsequence(
          who,
          mayText(draft.privileges),
          scopeText(scopeOf(draft)),
          untilText(draft),
        )
      }
      action={text.give}
      ready={lacks === null}
      onConfirm={async () => {
        await send("POST", address("grants"), {
          holder: draft.holder.trim(),
          is_role: draft.isRole,
          ...valuesOf(draft),
        });
      }}
      onClose={onClose}
    >
      <Flex gap={3} wrap="wrap">
        <Choice
          label={text.kind}
          value={draft.isRole ? "role" : "user"}
          options={text.kinds}
          set={(kind) => setDraft({ ...draft, isRole: kind === "role" })}
        />
        <TextField
          label={text.holder}
          value={draft.holder}
          set={(name) => setDraft({ ...draft, holder: name })}
        />
      </Flex>
      <What draft={draft} set={setDraft} />
    </Confirm>
  );
}

interface ApplyProps {
  done: (request: RequestDetail) => void;
  onClose: () => void;
}

function Apply({ done, onClose }: ApplyProps) {
  const [draft, setDraft] = useState(() => emptyDraft());
  const lacks = missing(draft, true);
  return (
    <Confirm
      title={text.applyTitle}
      consequence={
        lacks ??
        text.applyConsequence(
          mayText(draft.privileges),
          scopeText(scopeOf(draft)),
          untilText(draft),
        )
      }
      action={text.apply}
      ready={lacks === null}
      comment={{ label: text.reason, required: true, most: 500 }}
      onConfirm={async (reason) => {
        const body = { ...valuesOf(draft), reason };
        done(await send<RequestDetail>("POST", address("grants/apply"), body));
      }}
      onClose={onClose}
    >
      <What draft={draft} set={setDraft} />
    </Confirm>
  );
}

/** On what, what and until when. */
function What({ draft, set }: { draft: Draft; set: (draft: Draft) => void }) {
  const used = usePolled<Page<ConnectionLine>>(address("connections", { limit: 500 }), null);
  return (
    <>
      <Flex gap={3} wrap="wrap">
        <TextField
          label={text.connection}
          value={draft.connection}
          known={used.data?.items.map((one) => one.name)}
          set={(connection) => set({ ...draft, connection })}
        />
        <TextField
          label={text.container}
          value={draft.container}
          set={(container) => set({ ...draft, container })}
        />
        <TextField label={text.item} value={draft.item} set={(item) => set({ ...draft, item })} />
        <TextField
          label={text.untilField}
          type="date"
          value={draft.until}
          set={(until) => set({ ...draft, until })}
        />
      </Flex>
      {draft.item.trim() !== "" && (
        <Check
          label={text.isPath}
          checked={draft.isPath}
          set={(isPath) => set({ ...draft, isPath })}
        />
      )}
      <HStack as="fieldset" gap={4} wrap="wrap">
        <Text asChild fontSize="xs" color="fg.muted">
          <legend>{text.what}</legend>
        </Text>
        {PRIVILEGES.map((one) => (
          <Check
            key={one}
            label={text.privileges[one]}
            checked={draft.privileges.includes(one)}
            set={(on) =>
              set({
                ...draft,
                privileges: PRIVILEGES.filter((each) =>
                  each === one ? on : draft.privileges.includes(each),
                ),
              })
            }
          />
        ))}
      </HStack>
    </>
  );
}

function untilText(draft: Draft): string {
  return draft.until === "" ? text.forever : text.untilDay(draft.until);
}
