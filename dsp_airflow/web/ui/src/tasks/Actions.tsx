/** What one may do with a task: run it now, and switch it. */

import { Button, HStack, Text } from "@chakra-ui/react";
import { useState } from "react";
import { places } from "../address";
import { address, path, send } from "../api";
import { Confirm } from "../parts/Confirm";
import { To } from "../parts/layout";
import type { AirflowRun, Switched, TaskDetail } from "../shapes";
import { words } from "../words";

const text = words.scheduling;

type Act = "run" | "enable" | "disable" | "offline";

export function Actions({ task, done }: { task: TaskDetail; done: () => void }) {
  const [asked, setAsked] = useState<Act>();
  const [said, setSaid] = useState<string>();
  const [began, setBegan] = useState<AirflowRun>();
  const offered: Act[] = task.state === "enabled" && task.may_run ? ["run"] : [];
  if (task.may_steer) {
    offered.push(
      ...(task.state === "enabled" ? (["disable"] as const) : (["enable"] as const)),
      ...(task.state === "offline" ? [] : (["offline"] as const)),
    );
  }
  const perform = async (act: Act, reason: string) => {
    const route = address(path("tasks", task.name, act));
    if (act === "run") {
      setBegan(await send<AirflowRun>("POST", route, {}));
    } else {
      const body = {
        reason: reason || null,
        ...(act === "enable" && { from_offline: task.state === "offline" }),
      };
      setSaid(text.inAirflow((await send<Switched>("POST", route, body)).airflow));
    }
    done();
  };
  return (
    <HStack wrap="wrap">
      {offered.map((act) => (
        <Button
          key={act}
          size="xs"
          variant="outline"
          {...(act === "offline" && { colorPalette: "red" })}
          onClick={() => setAsked(act)}
        >
          {text.actions[act]}
        </Button>
      ))}
      {began && (
        <Text>
          {words.job.began}{" "}
          <To to={places.airflowRun(began.dag_id, began.dag_run_id)}>{began.dag_run_id}</To>
        </Text>
      )}
      {said && <Text color="fg.muted">{said}</Text>}
      {asked && (
        <Confirm
          title={text.asks[asked](task.title)}
          consequence={text.consequences[asked]}
          action={text.actions[asked]}
          danger={asked === "offline"}
          {...(asked !== "run" && { comment: { label: words.confirm.reason, required: false } })}
          onConfirm={(reason) => perform(asked, reason)}
          onClose={() => setAsked(undefined)}
        />
      )}
    </HStack>
  );
}
