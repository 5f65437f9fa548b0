/** What a test of a connection found, each with what to do. */

import { HStack, Spinner, Table, Text } from "@chakra-ui/react";
import { useEffect, useState } from "react";
import { address, type Problem, path, problemFrom, send } from "../api";
import { Trouble } from "../parts/States";
import { Pill } from "../parts/values";
import type { FindingLine, FindingState } from "../shapes";
import { words } from "../words";

const text = words.connections;
const PALETTES: Readonly<Record<FindingState, string>> = {
  ok: "success",
  warning: "up_for_retry",
  failed: "failed",
};

/** Tests it once, when it appears. */
export function Findings({ connection }: { connection: string }) {
  const [found, setFound] = useState<FindingLine[]>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    let left = false;
    const url = address(path("connections", connection, "test"));
    send<{ findings: FindingLine[] }>("POST", url, {})
      .then((answer) => !left && setFound(answer.findings))
      .catch((error: unknown) => !left && setProblem(problemFrom(error)));
    return () => {
      left = true;
    };
  }, [connection]);
  if (problem) {
    return <Trouble problem={problem} title={words.problems.notDone} />;
  }
  if (!found) {
    return (
      <HStack role="status" color="fg.muted" py={2}>
        <Spinner size="sm" />
        <Text>{text.testing}</Text>
      </HStack>
    );
  }
  return (
    <Table.Root size="sm" aria-label={text.findings(connection)} maxW="60rem">
      <Table.Body>
        {found.map((one) => (
          <Table.Row key={`${one.subject} ${one.text}`} bg="transparent">
            <Table.Cell w="6rem" verticalAlign="top">
              <Pill colours={PALETTES[one.state]} text={text.states[one.state]} />
            </Table.Cell>
            <Table.Cell w="12rem" verticalAlign="top">
              {one.subject}
            </Table.Cell>
            <Table.Cell overflowWrap="anywhere">
              {one.text}
              {one.remedy && (
                <Text mt={1} fontWeight="medium">
                  {one.remedy}
                </Text>
              )}
            </Table.Cell>
          </Table.Row>
        ))}
      </Table.Body>
    </Table.Root>
  );
}
