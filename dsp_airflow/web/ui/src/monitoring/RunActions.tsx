/** What can be done about a run, as far as Airflow and the server would let it. */

import { Button, Text } from "@chakra-ui/react";
import { type ReactNode, useState } from "react";
import { places } from "../address";
import { address, path, send } from "../api";
import { Confirm } from "../parts/Confirm";
import { To } from "../parts/layout";
import type { AirflowRun, RunDetail } from "../shapes";
import { ended } from "../states";
import { words } from "../words";
import { AcceptDrift } from "./AcceptDrift";

const text = words.run;
type Asked = "terminate" | "retry" | "repair" | "roll back" | "re-execute";

export function RunActions({ run, done }: { run: RunDetail; done: () => void }) {
  const [asked, setAsked] = useState<Asked>();
  const [drifted, setDrifted] = useState<string>();
  const [began, setBegan] = useState<AirflowRun>();
  const goesOn = !ended(run.state);
  const close = () => setAsked(undefined);
  const begin = async (route: string, body: object) => {
    setBegan(await send<AirflowRun>("POST", address(path("runs", run.id, route)), body));
    done();
  };
  return (
    <>
      <Began run={began} />
      {run.may_steer && goesOn && !run.stop_requested && (
        <Ask danger onClick={() => setAsked("terminate")}>
          {text.terminate}
        </Ask>
      )}
      {run.may_steer &&
        !goesOn &&
        run.afterwards.drifted.map((job) => (
          <Ask key={job} onClick={() => setDrifted(job)}>
            {run.afterwards.drifted.length > 1 ? words.drift.ofJob(job) : words.drift.action}
          </Ask>
        ))}
      {run.may_retry && !goesOn && run.state !== "succeeded" && run.airflow && (
        <Ask onClick={() => setAsked("retry")}>{text.retry}</Ask>
      )}
      {run.may_repair && <Ask onClick={() => setAsked("repair")}>{text.repair}</Ask>}
      {run.may_re_execute && <Ask onClick={() => setAsked("re-execute")}>{text.reExecute}</Ask>}
      {run.may_roll_back && (
        <Ask danger onClick={() => setAsked("roll back")}>
          {text.rollBack}
        </Ask>
      )}
      {drifted && (
        <AcceptDrift
          task={run.task}
          job={drifted}
          done={done}
          onClose={() => setDrifted(undefined)}
        />
      )}
      {asked === "terminate" && (
        <Confirm
          title={text.terminateTitle(run.title)}
          consequence={text.terminateConsequence(run.id)}
          action={text.terminate}
          danger
          comment={{ label: words.confirm.reason, required: false }}
          onConfirm={async (reason) => {
            await send("POST", address(path("runs", run.id, "terminate")), { reason });
            done();
          }}
          onClose={close}
        />
      )}
      {asked === "retry" && (
        <Confirm
          title={text.retryTitle(run.title)}
          consequence={text.retryConsequence(run.id)}
          action={text.retry}
          onConfirm={async () => {
            await send("POST", address(path("runs", run.id, "retry")), {});
            done();
          }}
          onClose={close}
        />
      )}
      {asked === "repair" && (
        <ConfirmRepair run={run} what={run.title} begin={() => begin("repair", {})} close={close} />
      )}
      {asked === "roll back" && (
        <Confirm
          title={text.rollBackTitle(run.title)}
          consequence={text.rollBackConsequence(run.id)}
          action={text.rollBack}
          danger
          onConfirm={() => begin("rollback", {})}
          onClose={close}
        />
      )}
      {asked === "re-execute" && (
        <Confirm
          title={text.reExecuteTitle(run.title)}
          consequence={
            <>
              {text.rollBackConsequence(run.id)} {text.reExecuteConsequence}
            </>
          }
          action={text.reExecute}
          danger
          onConfirm={() => begin("rollback", { again: true })}
          onClose={close}
        />
      )}
    </>
  );
}

/** The button and the question for one job of a run. */
export function RepairJob(props: {
  run: RunDetail;
  job: string;
  began: (run: AirflowRun) => void;
}) {
  const { run, job, began } = props;
  const [asked, setAsked] = useState(false);
  if (!run.may_repair || !run.afterwards.repairable.includes(job)) {
    return null;
  }
  const begin = async () =>
    began(await send<AirflowRun>("POST", address(path("runs", run.id, "repair")), { job }));
  return (
    <>
      <Ask onClick={() => setAsked(true)}>{text.repair}</Ask>
      {asked && <ConfirmRepair run={run} what={job} begin={begin} close={() => setAsked(false)} />}
    </>
  );
}

/** Where Airflow shows what was begun. */
export function Began({ run }: { run: AirflowRun | undefined }) {
  if (!run) {
    return null;
  }
  return (
    <Text fontSize="sm" alignSelf="center" role="status">
      {words.job.began} <To to={places.airflowRun(run.dag_id, run.dag_run_id)}>{run.dag_id}</To>
    </Text>
  );
}

function ConfirmRepair(props: {
  run: RunDetail;
  what: string;
  begin: () => Promise<void>;
  close: () => void;
}) {
  return (
    <Confirm
      title={text.repairTitle(props.what)}
      consequence={text.repairConsequence(props.run.id)}
      action={text.repair}
      onConfirm={props.begin}
      onClose={props.close}
    />
  );
}

function Ask(props: { danger?: boolean; onClick: () => void; children: ReactNode }) {
  return (
    <Button
      size="sm"
      variant="outline"
      {...(props.danger ? { colorPalette: "red" } : {})}
      onClick={props.onClick}
    >
      {props.children}
    </Button>
  );
}
