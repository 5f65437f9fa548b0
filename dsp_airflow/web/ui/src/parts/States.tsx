/** What shows instead of data: it is coming, there is none, or why it cannot be had. */

import {
  Alert,
  Box,
  Button,
  Code,
  HStack,
  Link,
  List,
  Spinner,
  Stack,
  Text,
} from "@chakra-ui/react";
import { useEffect, useState } from "react";
import { loginUrl, type Problem } from "../api";
import { exact } from "../format";
import { words } from "../words";

/** Nothing for a moment, so that quick answers do not flicker; words once it takes long. */
export function Loading({ what }: { what: string }) {
  const [stage, setStage] = useState(0);
  useEffect(() => {
    const timers = [window.setTimeout(setStage, 250, 1), window.setTimeout(setStage, 2_000, 2)];
    return () => timers.forEach(window.clearTimeout);
  }, []);
  return (
    <HStack role="status" minH={16} justify="center" color="fg.muted" gap={3}>
      {stage > 0 && <Spinner size="sm" />}
      {stage > 0 && <Text>{stage > 1 ? words.loadingStill(what) : words.loading(what)}</Text>}
    </HStack>
  );
}

/** What there would be, and how it begins. */
export function Empty({ title, step }: { title: string; step?: string }) {
  return (
    <Stack align="center" textAlign="center" py={12} px={4} gap={1} data-testid="dsp-empty">
      <Text fontWeight="medium">{title}</Text>
      {step && (
        <Text color="fg.muted" maxW="60ch">
          {step}
        </Text>
      )}
    </Stack>
  );
}

interface TroubleProps {
  problem: Problem;
  title?: string;
  /** When what is still shown was true. */
  at?: number | undefined;
  retry?: (() => void) | undefined;
}

/** What happened, and what to do. */
export function Trouble({ problem, title, at, retry }: TroubleProps) {
  return (
    <Alert.Root
      role="alert"
      status={problem.passing ? "warning" : "error"}
      alignItems="start"
      mb={3}
    >
      <Alert.Indicator />
      <Alert.Content>
        <Alert.Title>{title ?? words.problems.heading}</Alert.Title>
        <Alert.Description overflowWrap="anywhere">
          {problem.detail} {problem.passing && retry && words.problems.trying}{" "}
          {at !== undefined && words.problems.stale(exact(new Date(at).toISOString()))}
          {problem.mistakes.length > 0 && (
            <List.Root mt={2} ps={4}>
              {problem.mistakes.map((one) => (
                <List.Item key={`${one.where} ${one.message}`}>
                  <Code>{one.where}</Code> {one.message} {one.suggestion}
                </List.Item>
              ))}
            </List.Root>
          )}
          <Box mt={2}>
            {problem.loggedOut ? (
              <Link href={loginUrl()} fontWeight="medium" textDecoration="underline">
                {words.problems.logIn}
              </Link>
            ) : (
              retry && (
                <Button size="xs" variant="outline" onClick={retry}>
                  {words.problems.again}
                </Button>
              )
            )}
          </Box>
        </Alert.Description>
      </Alert.Content>
    </Alert.Root>
  );
}
