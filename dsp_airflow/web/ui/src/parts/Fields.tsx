/** Fields of forms, each with its label, and what it is for. */

import { Box, Input, NativeSelect, Text, Textarea } from "@chakra-ui/react";
import { type ReactNode, useId } from "react";

interface FieldProps<T> {
  label: string;
  value: T;
  set: (value: T) => void;
  disabled?: boolean;
  /** What the field is for, under it. */
  hint?: ReactNode;
}

interface TextProps extends FieldProps<string> {
  placeholder?: string | undefined;
  type?: "text" | "date";
  /** What may be meant; anything else may be written, too. */
  known?: readonly string[] | undefined;
  /** Several lines. */
  long?: boolean | undefined;
  width?: string;
}

export function TextField(props: TextProps) {
  const { value, set, disabled = false, placeholder, known, width = "14rem" } = props;
  const list = useId();
  const common = {
    size: "sm",
    w: width,
    value,
    disabled,
    ...(placeholder !== undefined && { placeholder }),
  } as const;
  return (
    <Labelled label={props.label} hint={props.hint}>
      {(described) =>
        props.long ? (
          <Textarea
            {...common}
            {...described}
            rows={4}
            fontFamily="mono"
            fontSize="xs"
            onChange={(event) => set(event.target.value)}
          />
        ) : (
          <>
            <Input
              {...common}
              {...described}
              type={props.type ?? "text"}
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
        )
      }
    </Labelled>
  );
}

export function Choice(props: FieldProps<string> & { options: Readonly<Record<string, string>> }) {
  return (
    <Labelled label={props.label} hint={props.hint}>
      {(described) => (
        <NativeSelect.Root size="sm" w="14rem" disabled={props.disabled ?? false}>
          <NativeSelect.Field
            {...described}
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
  hint?: ReactNode;
}

export function Check({ label, checked, set, hint }: CheckProps) {
  return (
    <Box>
      <label>
        <input type="checkbox" checked={checked} onChange={(event) => set(event.target.checked)} />{" "}
        {label}
      </label>
      {hint && <Hint>{hint}</Hint>}
    </Box>
  );
}

interface Described {
  id: string;
  "aria-describedby"?: string;
}

interface LabelledProps {
  label: string;
  hint?: ReactNode;
  children: (described: Described) => ReactNode;
}

function Labelled({ label, hint, children }: LabelledProps) {
  const id = useId();
  return (
    <Box>
      <Text asChild fontSize="xs" color="fg.muted" display="block">
        <label htmlFor={id}>{label}</label>
      </Text>
      {children(hint ? { id, "aria-describedby": `${id}-hint` } : { id })}
      {hint && <Hint id={`${id}-hint`}>{hint}</Hint>}
    </Box>
  );
}

export function Hint({ id, children }: { id?: string; children: ReactNode }) {
  return (
    <Text {...(id !== undefined && { id })} fontSize="xs" color="fg.muted" maxW="32rem" mt={0.5}>
      {children}
    </Text>
  );
}
