/** Asks once before something that cannot be taken back: what it is about, and what follows. */

import { Button, Dialog, Portal, Stack, Text, Textarea } from "@chakra-ui/react";
import { type ReactNode, useId, useState } from "react";
import { type Problem, problemFrom } from "../api";
import { words } from "../words";
import { Trouble } from "./States";

interface ConfirmProps {
  title: string;
  consequence: ReactNode;
  action: string;
  /** Red where it deletes, stops or says no. */
  danger?: boolean;
  /** A field for words, and whether there have to be some. */
  comment?: { label: string; required: boolean; most?: number };
  /** Further fields. */
  children?: ReactNode;
  /** Whether what the further fields hold can be sent. */
  ready?: boolean;
  onConfirm: (comment: string) => Promise<void>;
  onClose: () => void;
}

export function Confirm(props: ConfirmProps) {
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const id = useId();
  const missing = props.comment?.required === true && text.trim() === "";

  const confirm = async () => {
    setBusy(true);
    setProblem(undefined);
    try {
      await props.onConfirm(text.trim());
      props.onClose();
    } catch (error) {
      setProblem(problemFrom(error));
      setBusy(false);
    }
  };

  return (
    <Dialog.Root
      open
      role="alertdialog"
      closeOnInteractOutside={false}
      onOpenChange={({ open }) => {
        if (!open && !busy) {
          props.onClose();
        }
      }}
    >
      <Portal>
        <Dialog.Backdrop />
        <Dialog.Positioner>
          <Dialog.Content maxW="36rem">
            <Dialog.Header>
              <Dialog.Title overflowWrap="anywhere">{props.title}</Dialog.Title>
            </Dialog.Header>
            <Dialog.Body>
              <Stack gap={3}>
                {problem && <Trouble problem={problem} title={words.problems.notDone} />}
                {props.children}
                <Text overflowWrap="anywhere">{props.consequence}</Text>
                {props.comment && (
                  <Stack gap={1}>
                    <Text asChild fontSize="sm" color="fg.muted">
                      <label htmlFor={id}>
                        {props.comment.label} {props.comment.required && words.confirm.required}
                      </label>
                    </Text>
                    <Textarea
                      id={id}
                      rows={3}
                      value={text}
                      maxLength={props.comment.most ?? 2000}
                      onChange={(event) => setText(event.target.value)}
                    />
                  </Stack>
                )}
              </Stack>
            </Dialog.Body>
            <Dialog.Footer>
              <Button variant="outline" disabled={busy} onClick={props.onClose}>
                {words.confirm.cancel}
              </Button>
              <Button
                colorPalette={props.danger ? "red" : "brand"}
                disabled={missing || props.ready === false}
                loading={busy}
                onClick={() => void confirm()}
              >
                {props.action}
              </Button>
            </Dialog.Footer>
          </Dialog.Content>
        </Dialog.Positioner>
      </Portal>
    </Dialog.Root>
  );
}
