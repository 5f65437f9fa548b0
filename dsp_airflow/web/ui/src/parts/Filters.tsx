/** Fields above a table. They are written into the address once somebody pauses. */

import { Box, Button, Flex, Input, NativeSelect, Text } from "@chakra-ui/react";
import { type ReactNode, useEffect, useId, useRef, useState } from "react";
import type { ListState } from "../address";
import { words } from "../words";

const PAUSE = 300;

interface FieldProps {
  list: ListState;
  name: string;
  label: string;
}

export function TextFilter({ list, name, label }: FieldProps) {
  const kept = list.filter(name);
  const [text, setText] = useState(kept);
  const timer = useRef<number | undefined>(undefined);
  useEffect(() => setText(kept), [kept]);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  return (
    <Field label={label}>
      {(id) => (
        <Input
          id={id}
          size="xs"
          value={text}
          type="search"
          onChange={(event) => {
            const { value } = event.target;
            setText(value);
            window.clearTimeout(timer.current);
            timer.current = window.setTimeout(() => list.setFilter(name, value.trim()), PAUSE);
          }}
        />
      )}
    </Field>
  );
}

/** A day in UTC, as `YYYY-MM-DD`. */
export function DayFilter({ list, name, label }: FieldProps) {
  return (
    <Field label={label}>
      {(id) => (
        <Input
          id={id}
          size="xs"
          type="date"
          value={list.filter(name)}
          onChange={(event) => list.setFilter(name, event.target.value)}
        />
      )}
    </Field>
  );
}

interface ChoiceProps extends FieldProps {
  any: string;
  options: Readonly<Record<string, string>>;
}

export function ChoiceFilter({ list, name, label, any, options }: ChoiceProps) {
  return (
    <Field label={label}>
      {(id) => (
        <NativeSelect.Root size="xs" width="13rem">
          <NativeSelect.Field
            id={id}
            value={list.filter(name)}
            onChange={(event) => list.setFilter(name, event.target.value)}
          >
            <option value="">{any}</option>
            {Object.entries(options).map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </NativeSelect.Field>
          <NativeSelect.Indicator />
        </NativeSelect.Root>
      )}
    </Field>
  );
}

interface FiltersProps {
  list: ListState;
  names: readonly string[];
  children: ReactNode;
}

export function Filters({ list, names, children }: FiltersProps) {
  const any = names.some((name) => list.filter(name) !== "");
  return (
    <Flex gap={3} mb={3} align="end" wrap="wrap">
      {children}
      {any && (
        <Button
          size="xs"
          variant="ghost"
          onClick={() => list.setFilters(Object.fromEntries(names.map((name) => [name, ""])))}
        >
          {words.table.clear}
        </Button>
      )}
    </Flex>
  );
}

function Field({ label, children }: { label: string; children: (id: string) => ReactNode }) {
  const id = useId();
  return (
    <Box>
      <Text asChild fontSize="xs" color="fg.muted">
        <label htmlFor={id}>{label}</label>
      </Text>
      {children(id)}
    </Box>
  );
}

/** The first moment of a day, or of the day after it. Pure. */
export function dayStart(day: string, daysLater = 0): string | null {
  const at = Date.parse(`${day}T00:00:00Z`);
  return Number.isNaN(at) ? null : new Date(at + daysLater * 86_400_000).toISOString();
}
