/** One field of a task file, whatever kind of value it has. */

import { Box, Button, Flex, HStack, Stack, Text } from "@chakra-ui/react";
import { type ReactNode, useState } from "react";
import { Check, Choice, Hint, TextField } from "../parts/Fields";
import { words } from "../words";
import type { Field, Way } from "./schema";
import { isValues, names, number, put, read, shown, type Values } from "./values";

const text = words.newTask;

interface InputProps {
  field: Field;
  value: unknown;
  set: (value: unknown) => void;
  /** What is offered for fields of this name. */
  offered?: Offered;
}

/** By a field's name: what may be typed; and, of the outermost fields alone, all there is. */
export interface Offered {
  typed: Readonly<Record<string, readonly string[]>>;
  chosen: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export function FieldInput(props: InputProps) {
  const { field, value, set, offered } = props;
  const label = field.required ? `${field.name} ${words.confirm.required}` : field.name;
  const known = offered?.chosen[field.name];
  if (known !== undefined) {
    return (
      <Choice
        label={label}
        value={shown(value) || field.usual}
        options={known}
        hint={field.description}
        set={(one) => set(one === field.usual ? undefined : one)}
      />
    );
  }
  switch (field.kind) {
    case "choice":
      return (
        <Choice
          label={label}
          value={shown(value)}
          options={{
            "": field.usual ? text.usual(field.usual) : text.none,
            ...Object.fromEntries(field.options.map((one) => [one, one])),
          }}
          hint={field.description}
          set={set}
        />
      );
    case "truth":
      return (
        <Check
          label={label}
          checked={value === true}
          hint={field.description}
          set={(on) => set(on || undefined)}
        />
      );
    case "group":
      return (
        <Group title={label} hint={field.description}>
          <Fields
            fields={field.fields}
            values={isValues(value) ? value : {}}
            set={set}
            offered={inside(offered)}
          />
        </Group>
      );
    case "rows":
      return <Rows {...props} label={label} fields={field.fields} />;
    case "pairs":
      return <Pairs {...props} label={label} />;
    case "either":
      return <Either {...props} label={label} ways={field.ways} />;
    default:
      return <Typed {...props} label={label} />;
  }
}

/** Deeper down a name means something else. */
function inside(offered: Offered | undefined): Offered | undefined {
  return offered && { ...offered, chosen: {} };
}

interface FieldsProps {
  fields: readonly Field[];
  values: Values;
  set: (values: Values) => void;
  offered?: Offered | undefined;
}

export function Fields({ fields, values, set, offered }: FieldsProps) {
  return (
    <Stack gap={4}>
      {fields.map((one) => (
        <FieldInput
          key={one.name}
          field={one}
          value={values[one.name]}
          set={(value) => set(put(values, one.name, value))}
          {...(offered && { offered })}
        />
      ))}
    </Stack>
  );
}

function Group({ title, hint, children }: { title: string; hint?: string; children: ReactNode }) {
  return (
    <Box as="fieldset" borderWidth="1px" borderRadius="md" p={3}>
      <Text as="legend" fontSize="sm" fontWeight="medium" px={1}>
        {title}
      </Text>
      {hint && (
        <Box mb={3}>
          <Hint>{hint}</Hint>
        </Box>
      )}
      {children}
    </Box>
  );
}

/** The text stays as it was typed; the value is what it means. */
function Typed({ field, value, set, offered, label }: InputProps & { label: string }) {
  const before = field.kind === "names" && Array.isArray(value) ? value.join(", ") : shown(value);
  const [typed, setTyped] = useState(before);
  const mean = (said: string): unknown => {
    switch (field.kind) {
      case "names":
        return names(said);
      case "number":
        return number(said.trim()) ?? said.trim();
      case "free":
        return read(said, field.long ? text.ruleKeys : []);
      default:
        return said;
    }
  };
  return (
    <TextField
      label={label}
      value={typed}
      width="full"
      long={field.kind === "free" && field.long}
      placeholder={field.usual || (field.example && text.example(field.example))}
      known={offered?.typed[field.name]}
      hint={field.description}
      set={(said) => {
        setTyped(said);
        set(mean(said));
      }}
    />
  );
}

interface RowsProps extends InputProps {
  label: string;
  fields: readonly Field[];
}

function Rows({ field, fields, value, set, offered, label }: RowsProps) {
  const rows: readonly Values[] = Array.isArray(value) ? value : [];
  const change = (after: readonly Values[]) => set(after.length > 0 ? after : undefined);
  return (
    <Group title={label} hint={field.description}>
      <Stack gap={3}>
        {rows.map((row, at) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a row is its place
          <Group key={`${at} of ${rows.length}`} title={text.row(at + 1)}>
            <Fields
              fields={fields}
              values={row}
              offered={inside(offered)}
              set={(after) => change(rows.map((one, place) => (place === at ? after : one)))}
            />
            <Button
              size="xs"
              variant="ghost"
              mt={2}
              onClick={() => change(rows.filter((_, place) => place !== at))}
            >
              {text.remove}
            </Button>
          </Group>
        ))}
        <Box>
          <Button size="xs" variant="outline" onClick={() => change([...rows, {}])}>
            {text.add(field.name)}
          </Button>
        </Box>
      </Stack>
    </Group>
  );
}

function Pairs({ field, value, set, label }: InputProps & { label: string }) {
  const [pairs, setPairs] = useState<readonly [string, string][]>(() =>
    Object.entries(isValues(value) ? value : {}).map(([name, one]) => [name, shown(one)]),
  );
  const change = (after: readonly [string, string][]) => {
    setPairs(after);
    const named = after.filter(([name]) => name !== "");
    set(named.length > 0 ? Object.fromEntries(named.map(([name, one]) => [name, read(one)])) : {});
  };
  const at = (place: number, pair: [string, string]) =>
    change(pairs.map((one, index) => (index === place ? pair : one)));
  return (
    <Group title={label} hint={field.description}>
      <Stack gap={2}>
        {pairs.map(([name, one], place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a pair is its place
          <Flex key={place} gap={2} align="end" wrap="wrap">
            <TextField
              label={text.pairName}
              value={name}
              width="9rem"
              set={(said) => at(place, [said, one])}
            />
            <TextField
              label={text.pairValue}
              value={one}
              width="11rem"
              set={(said) => at(place, [name, said])}
            />
            <Button
              size="sm"
              variant="ghost"
              onClick={() => change(pairs.filter((_, index) => index !== place))}
            >
              {text.remove}
            </Button>
          </Flex>
        ))}
        <Box>
          <Button size="xs" variant="outline" onClick={() => change([...pairs, ["", ""]])}>
            {text.add(field.name)}
          </Button>
        </Box>
      </Stack>
    </Group>
  );
}

function Either({ field, value, set, offered, label, ways }: InputProps & EitherProps) {
  const [way, setWay] = useState(() => ways.findIndex((one) => fits(one, value)));
  const chosen = ways[way];
  return (
    <Group title={label} hint={field.description}>
      <HStack align="start" gap={4} wrap="wrap">
        <Choice
          label={text.way}
          value={String(way)}
          options={{
            "-1": field.usual ? text.usual(field.usual) : text.none,
            ...Object.fromEntries(ways.map((one, at) => [at, one.label || text.value])),
          }}
          set={(said) => {
            const next = ways[Number(said)];
            setWay(Number(said));
            set(next !== undefined && "value" in next ? next.value : undefined);
          }}
        />
        {chosen !== undefined && "field" in chosen && (
          <Box flex="1" minW="14rem" key={way}>
            {chosen.field.kind === "group" ? (
              <Fields
                fields={chosen.field.fields}
                values={isValues(value) ? value : {}}
                set={set}
                offered={inside(offered)}
              />
            ) : (
              <FieldInput field={chosen.field} value={value} set={set} />
            )}
          </Box>
        )}
      </HStack>
    </Group>
  );
}

interface EitherProps {
  label: string;
  ways: readonly Way[];
}

function fits(way: Way, value: unknown): boolean {
  if ("value" in way) {
    return value === way.value;
  }
  return way.field.kind === "group" ? isValues(value) : value !== undefined && !isValues(value);
}
