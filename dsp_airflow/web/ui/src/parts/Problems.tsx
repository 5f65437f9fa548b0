/** What is wrong with a file: where, what, and what to do. */

import { Code, List, Text } from "@chakra-ui/react";
import type { TaskProblem } from "../shapes";
import { words } from "../words";

export function Problems({ problems }: { problems: readonly TaskProblem[] }) {
  return (
    <List.Root ps={4} gap={1}>
      {problems.map((one) => (
        <List.Item key={`${one.where} ${one.message}`} overflowWrap="anywhere">
          <Code fontSize="xs">{one.where}</Code>{" "}
          <Text as="span" color="red.fg">
            {one.message}
          </Text>
          {one.suggestion && ` ${words.task.suggestion(one.suggestion)}`}
        </List.Item>
      ))}
    </List.Root>
  );
}
