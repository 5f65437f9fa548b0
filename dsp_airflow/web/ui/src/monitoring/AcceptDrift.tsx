/** What changed of a source table since the last run, and that it is right as it is. */

import { Box, List } from "@chakra-ui/react";
import { useEffect, useState } from "react";
import { address, type Problem, path, problemFrom, send } from "../api";
import { Confirm } from "../parts/Confirm";
import { Loading, Trouble } from "../parts/States";
import type { JobDrift } from "../shapes";
import { words } from "../words";

const text = words.drift;

interface AcceptDriftProps {
  task: string;
  job: string;
  done: () => void;
  onClose: () => void;
}

export function AcceptDrift({ task, job, done, onClose }: AcceptDriftProps) {
  const [seen, setSeen] = useState<JobDrift>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    let gone = false;
    send<JobDrift>("POST", address(path("tasks", task, "drift")), { job }).then(
      (found) => gone || setSeen(found),
      (error) => gone || setProblem(problemFrom(error)),
    );
    return () => {
      gone = true;
    };
  }, [task, job]);
  const changed = (seen?.changes.length ?? 0) > 0;
  return (
    <Confirm
      title={text.title(job)}
      consequence={seen && !changed ? text.nothing(seen.table) : text.consequence}
      action={text.action}
      ready={changed && seen?.digest !== null}
      onConfirm={async () => {
        const route = address(path("tasks", task, "drift", "accept"));
        await send("POST", route, { job, digest: seen?.digest });
        done();
      }}
      onClose={onClose}
    >
      <Box>
        {problem && <Trouble problem={problem} />}
        {!seen && !problem && <Loading what={text.what} />}
        {seen && (
          <List.Root ps={4} aria-label={text.changes(seen.table)}>
            {seen.changes.map((change) => (
              <List.Item key={change.what} overflowWrap="anywhere">
                {change.what}
              </List.Item>
            ))}
          </List.Root>
        )}
      </Box>
    </Confirm>
  );
}
