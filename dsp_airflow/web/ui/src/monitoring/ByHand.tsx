/** Batches of a job are chosen, and something is done about their rows in the source. */

import { Box, Button, HStack, Input, Text } from "@chakra-ui/react";
import { useId, useState } from "react";
import { address, path, send } from "../api";
import { count } from "../format";
import { Confirm } from "../parts/Confirm";
import { Loading, Trouble } from "../parts/States";
import { usePolled } from "../polling";
import type { AirflowRun, JobCounts, RunDetail, Strip as StripShape } from "../shapes";
import { words } from "../words";
import { batchCount, holds, toggled } from "./batches";
import { Strip } from "./Strip";

const CELLS = 200;

/** Deleting them where they are proved, or recording that somebody deleted them. */
export type Act = "purge" | "mark-deleted";

interface ByHandProps {
  act: Act;
  run: RunDetail;
  job: JobCounts;
  began: (run: AirflowRun) => void;
  onClose: () => void;
}

export function ByHand({ act, run, job, began, onClose }: ByHandProps) {
  const [text, setText] = useState("");
  const id = useId();
  const said = words.job.byHand[act];
  const last = Number(job.batches);
  const chosen = batchCount(text, last);
  const right = typeof chosen === "number";
  const url = address(path("runs", run.id, "jobs", job.name, "strip"), { cells: CELLS });
  const strip = usePolled<StripShape>(url, null);
  return (
    <Confirm
      title={said.title(job.name)}
      consequence={
        right
          ? said.consequence(count(chosen), job.source)
          : words.job.numbersWrong(text === "" ? "" : chosen, count(last))
      }
      action={said.action}
      danger={act === "purge"}
      ready={right}
      onConfirm={async () => {
        const route = address(path("runs", run.id, "jobs", job.name, act));
        began(await send<AirflowRun>("POST", route, { batches: text.trim() }));
      }}
      onClose={onClose}
    >
      <Box>
        {strip.problem && <Trouble problem={strip.problem} retry={strip.reload} />}
        {!strip.data && !strip.problem && <Loading what={words.job.what} />}
        {strip.data && (
          <Box maxH="14rem" overflowY="auto" p={1}>
            <Strip
              strip={strip.data}
              isChosen={(cell) => holds(text, [cell.first, cell.last], last)}
              choose={(cell) => setText(toggled(text, [cell.first, cell.last], last))}
            />
          </Box>
        )}
      </Box>
      <Box>
        <Text asChild fontSize="sm" color="fg.muted">
          <label htmlFor={id}>{words.job.numbers}</label>
        </Text>
        <HStack>
          <Input id={id} size="sm" value={text} onChange={(event) => setText(event.target.value)} />
          <Button size="sm" variant="outline" onClick={() => setText("all")}>
            {words.job.all}
          </Button>
        </HStack>
      </Box>
    </Confirm>
  );
}
