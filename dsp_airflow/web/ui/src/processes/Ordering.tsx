/** In which order the processes of a type are tried: dragged, or moved by buttons, then saved. */

import { Button, Dialog, HStack, NativeSelect, Portal, Stack, Text } from "@chakra-ui/react";
import { useEffect, useState } from "react";
import { address, type Problem, path, problemFrom, send } from "../api";
import { Loading, Trouble } from "../parts/States";
import { usePolled } from "../polling";
import type { ProcessPage } from "../shapes";
import { words } from "../words";
import { moved } from "./ordering";

const text = words.processes;

export function Ordering({ onClose }: { onClose: () => void }) {
  const [type, setType] = useState("warm");
  return (
    <Dialog.Root open onOpenChange={({ open }) => !open && onClose()}>
      <Portal>
        <Dialog.Backdrop />
        <Dialog.Positioner>
          <Dialog.Content>
            <Dialog.Header>
              <Dialog.Title>{text.order}</Dialog.Title>
            </Dialog.Header>
            <Dialog.Body>
              <Text mb={3}>{text.orderHint}</Text>
              <NativeSelect.Root size="sm" mb={3}>
                <NativeSelect.Field
                  aria-label={text.columns.type}
                  value={type}
                  onChange={(event) => setType(event.target.value)}
                >
                  {Object.entries(words.types).map(([value, name]) => (
                    <option key={value} value={value}>
                      {name}
                    </option>
                  ))}
                </NativeSelect.Field>
                <NativeSelect.Indicator />
              </NativeSelect.Root>
              <Names key={type} type={type} onClose={onClose} />
            </Dialog.Body>
          </Dialog.Content>
        </Dialog.Positioner>
      </Portal>
    </Dialog.Root>
  );
}

function Names({ type, onClose }: { type: string; onClose: () => void }) {
  const found = usePolled<ProcessPage>(address("processes", { type, limit: 500 }), null);
  const [names, setNames] = useState<readonly string[]>();
  const [dragged, setDragged] = useState<number>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    // Files say themselves where they stand.
    setNames(found.data?.items.filter((one) => one.file === null).map((one) => one.name));
  }, [found.data]);
  const move = (from: number, to: number) => setNames((before) => moved(before ?? [], from, to));
  const save = async () => {
    try {
      await send("PUT", address(path("process-order", type)), { names });
      onClose();
    } catch (error) {
      setProblem(problemFrom(error));
    }
  };
  const trouble = problem ?? found.problem;
  return (
    <Stack gap={2}>
      {trouble && <Trouble problem={trouble} title={words.problems.notDone} />}
      {!names && !trouble && <Loading what={text.processes} />}
      {names?.length === 0 && <Text color="fg.muted">{text.noneOfType}</Text>}
      {names?.map((name, at) => (
        <HStack
          key={name}
          draggable
          borderWidth="1px"
          borderRadius="sm"
          px={3}
          py={1}
          cursor="grab"
          opacity={dragged === at ? 0.5 : 1}
          onDragStart={() => setDragged(at)}
          onDragOver={(event) => {
            event.preventDefault();
            if (dragged !== undefined && dragged !== at) {
              move(dragged, at);
              setDragged(at);
            }
          }}
          onDragEnd={() => setDragged(undefined)}
        >
          <Text flex="1">{name}</Text>
          <Button
            size="2xs"
            variant="ghost"
            disabled={at === 0}
            aria-label={text.up(name)}
            onClick={() => move(at, at - 1)}
          >
            ↑
          </Button>
          <Button
            size="2xs"
            variant="ghost"
            disabled={at === names.length - 1}
            aria-label={text.down(name)}
            onClick={() => move(at, at + 1)}
          >
            ↓
          </Button>
        </HStack>
      ))}
      <HStack justify="end" mt={3}>
        <Button variant="outline" onClick={onClose}>
          {words.confirm.cancel}
        </Button>
        <Button colorPalette="brand" disabled={!names?.length} onClick={() => void save()}>
          {text.save}
        </Button>
      </HStack>
    </Stack>
  );
}
