/** Fields of forms, each with its label. */

import { Box, Input, NativeSelect, Text } from "@chakra-ui/react";
import { type ReactNode, useId } from "react";

interface FieldProps<T> {
  label: string;
  value: T;
  set: (value: T) => void;
  disabled?: boolean;
}

interface TextProps extends FieldProps<string> {
  type?: "text" | "date";
  /** What may be meant; anything else may be written, too. */
  known?: readonly string[] | undefined;
}

export function TextField(props: TextProps) {
  const { label, value, set, disabled = false, type = "text", known } = props;
  const list = useId();
  return (
    <Labelled label={label}>
      {(id) => (
        <>
          <Input
            id={id}
            size="sm"
            w="14rem"
            type={type}
            value={value}
            disabled={disabled}
            {...(known && { list })}
            onChange={(event) => set(event.target.value)}
          />
          {known && (
            <datalist id={list}>
              {known.map((one) => (
                <option key={one} value={one} />
              ))}
            </datalist>
          )}
        </>
      )}
    </Labelled>
  );
}

export function Choice(props: FieldProps<string> & { options: Readonly<Record<string, string>> }) {
  return (
    <Labelled label={props.label}>
      {(id) => (
        <NativeSelect.Root size="sm" w="14rem" disabled={props.disabled ?? false}>
          <NativeSelect.Field
            id={id}
            value={props.value}
            onChange={(event) => props.set(event.target.value)}
          >
            {Object.entries(props.options).map(([value, name]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </NativeSelect.Field>
          <NativeSelect.Indicator />
        </NativeSelect.Root>
      )}
    </Labelled>
  );
}

interface CheckProps {
  label: string;
  checked: boolean;
  set: (on: boolean) => void;
}

export function Check({ label, checked, set }: CheckProps) {
  return (
    <label>
      <input type="checkbox" checked={checked} onChange={(event) => set(event.target.checked)} />{" "}
      {label}
    </label>
  );
}

function Labelled({ label, children }: { label: string; children: (id: string) => ReactNode }) {
  const id = useId();
  return (
    <Box>
      <Text asChild fontSize="xs" color="fg.muted" display="block">
        <label htmlFor={id}>{label}</label>
      </Text>
      {children(id)}
    </Box>
  );
}
