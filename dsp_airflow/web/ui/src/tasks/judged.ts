/** What the server says of a task file while somebody writes it. */

import { useEffect, useState } from "react";
import { address, type Problem, problemFrom, send } from "../api";
import type { TaskProblem } from "../shapes";

const PAUSE = 400;

export interface Judgement {
  /** The text that was judged last. */
  of: string | undefined;
  problems: readonly TaskProblem[] | undefined;
  /** Why it could not be judged. */
  problem: Problem | undefined;
}

/** Asks once nobody has typed for a moment; what was said last stays until then. */
export function useJudged(text: string): Judgement {
  const [found, setFound] = useState<Judgement>({
    of: undefined,
    problems: undefined,
    problem: undefined,
  });
  useEffect(() => {
    let late = false;
    const timer = window.setTimeout(async () => {
      let judged: Judgement;
      try {
        const route = address("task-files/lint");
        const said = await send<{ problems: TaskProblem[] }>("POST", route, { text });
        judged = { of: text, problems: said.problems, problem: undefined };
      } catch (error) {
        judged = { of: text, problems: undefined, problem: problemFrom(error) };
      }
      if (!late) {
        setFound(judged);
      }
    }, PAUSE);
    return () => {
      late = true;
      window.clearTimeout(timer);
    };
  }, [text]);
  return found;
}
