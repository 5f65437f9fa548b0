/** A new task, written in steps; its file grows beside them, and is judged as it does. */

import { Box, Button, Flex, HStack, Stack, Text } from "@chakra-ui/react";
import { useMemo, useState } from "react";
import { useNavigate } from "react-router-dom";
import { places } from "../address";
import { address, type Page, send } from "../api";
import { Confirm } from "../parts/Confirm";
import { Choice } from "../parts/Fields";
import { Card, Title } from "../parts/layout";
import { Problems } from "../parts/Problems";
import { Loading, Trouble } from "../parts/States";
import { linesWith, Yaml } from "../parts/Yaml";
import { usePolled } from "../polling";
import type { ConnectionLine, Me, SavedTask, TaskForm } from "../shapes";
import { words } from "../words";
import { Fields, type Offered } from "./FieldInput";
import { type Judgement, useJudged } from "./judged";
import { fieldsIn, ofJob, STEPS, type Step } from "./steps";
import { jobsIn, newJob, newTask, put, type Values, yamlOf } from "./values";

const text = words.newTask;
const CONNECTIONS = 500;

export function NewTaskPage({ me }: { me: Me | undefined }) {
  const form = usePolled<TaskForm>(address("task-files/form"), null);
  const connections = usePolled<Page<ConnectionLine>>(
    address("connections", { limit: CONNECTIONS }),
    null,
  );
  return (
    <>
      {form.problem && <Trouble problem={form.problem} retry={form.reload} />}
      {(!form.data || !me) && !form.problem && <Loading what={text.what} />}
      {form.data && me && (
        <Form
          form={form.data}
          me={me}
          connections={connections.data?.items.map((one) => one.name) ?? []}
        />
      )}
    </>
  );
}

interface FormProps {
  form: TaskForm;
  me: Me;
  connections: readonly string[];
}

function Form({ form, me, connections }: FormProps) {
  const [task, setTask] = useState<Values>(() => newTask(me.name));
  const [step, setStep] = useState<Step>("task");
  const [at, setAt] = useState(0);
  const jobs = jobsIn(task);
  const job = jobs[at] ?? newJob();
  const type = String(job["type"]);
  const yaml = useMemo(() => yamlOf(task, form.task_schema), [task, form.task_schema]);
  const judged = useJudged(yaml);
  const setJobs = (after: readonly Values[]) => setTask((known) => put(known, "jobs", after));
  const fields = fieldsIn(step, form.task_schema, type);
  const place = STEPS.indexOf(step);
  return (
    <>
      <Title under={text.under}>{text.title}</Title>
      <Steps step={step} choose={setStep} />
      <Flex gap={4} align="start" wrap="wrap">
        <Box flex="1 1 26rem" minW={0} maxW="46rem">
          {ofJob(step) && <Jobs jobs={jobs} at={at} choose={setAt} set={setJobs} />}
          <Card
            title={ofJob(step) ? text.ofJob(text.steps[step], nameOf(job, at)) : text.steps[step]}
          >
            <Fields
              // Each keeps what is typed in it; of another job it is another.
              key={`${step} ${at} ${jobs.length} ${type}`}
              fields={fields}
              values={ofJob(step) ? job : task}
              offered={offeredIn(form, task, connections)}
              set={(after) =>
                ofJob(step)
                  ? setJobs(jobs.map((one, index) => (index === at ? after : one)))
                  : setTask(after)
              }
            />
          </Card>
          <HStack justify="end">
            <Button
              variant="outline"
              disabled={place === 0}
              onClick={() => setStep(STEPS[place - 1] ?? step)}
            >
              {words.processes.back}
            </Button>
            <Button
              colorPalette="brand"
              disabled={place === STEPS.length - 1}
              onClick={() => setStep(STEPS[place + 1] ?? step)}
            >
              {words.processes.next}
            </Button>
          </HStack>
        </Box>
        <Box flex="1 1 26rem" minW={0} position={{ lg: "sticky" }} top={2}>
          <Preview yaml={yaml} judged={judged} form={form} task={task} />
        </Box>
      </Flex>
    </>
  );
}

function nameOf(job: Values, at: number): string {
  return String(job["name"] ?? text.unnamed(at + 1));
}

/** Connections that tasks use, and the approval processes that are enabled. */
function offeredIn(form: TaskForm, task: Values, connections: readonly string[]): Offered {
  const types = new Set(jobsIn(task).map((job) => job["type"]));
  const processes = form.processes.filter((one) => types.has(one.task_type));
  return {
    typed: { connection: connections },
    chosen: {
      type: words.monitoring.kinds,
      approval: {
        match: text.match,
        ...Object.fromEntries(processes.map((one) => [one.name, one.name])),
        ...(form.approval_enforced ? {} : { none: text.noApproval }),
      },
    },
  };
}

function Steps({ step, choose }: { step: Step; choose: (step: Step) => void }) {
  return (
    <Flex as="nav" aria-label={text.stepsLabel} gap={1} mb={4} wrap="wrap">
      {STEPS.map((one, at) => (
        <Button
          key={one}
          size="xs"
          variant={one === step ? "solid" : "outline"}
          {...(one === step && { colorPalette: "brand" })}
          aria-current={one === step ? "step" : undefined}
          onClick={() => choose(one)}
        >
          {at + 1}. {text.steps[one]}
        </Button>
      ))}
    </Flex>
  );
}

interface JobsProps {
  jobs: readonly Values[];
  at: number;
  choose: (at: number) => void;
  set: (jobs: readonly Values[]) => void;
}

function Jobs({ jobs, at, choose, set }: JobsProps) {
  return (
    <HStack mb={3} align="end" wrap="wrap">
      <Choice
        label={text.job}
        value={String(at)}
        options={Object.fromEntries(jobs.map((one, index) => [index, nameOf(one, index)]))}
        set={(said) => choose(Number(said))}
      />
      <Button
        size="sm"
        variant="outline"
        onClick={() => {
          set([...jobs, newJob()]);
          choose(jobs.length);
        }}
      >
        {text.addJob}
      </Button>
      <Button
        size="sm"
        variant="ghost"
        disabled={jobs.length === 1}
        onClick={() => {
          set(jobs.filter((_, index) => index !== at));
          choose(0);
        }}
      >
        {text.removeJob}
      </Button>
    </HStack>
  );
}

interface PreviewProps {
  yaml: string;
  judged: Judgement;
  form: TaskForm;
  task: Values;
}

function Preview({ yaml, judged, form, task }: PreviewProps) {
  const [asked, setAsked] = useState(false);
  const [copied, setCopied] = useState<string>();
  const [failed, setFailed] = useState(false);
  const navigate = useNavigate();
  const problems = judged.problems ?? [];
  const marked = useMemo(() => linesWith(judged.problems ?? []), [judged.problems]);
  const name = String(task["name"] ?? "task");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(yaml);
      setCopied(yaml);
    } catch {
      // Browsers forbid it where the page came without TLS; the text can be marked by hand.
      setCopied(undefined);
      setFailed(true);
    }
  };
  return (
    <Card
      title={
        <HStack justify="space-between" wrap="wrap">
          <Text fontFamily="mono">{name}.yaml</Text>
          <HStack>
            <Button size="xs" variant="outline" onClick={() => void copy()}>
              {copied === yaml ? text.copied : text.copy}
            </Button>
            <Button size="xs" variant="outline" onClick={() => download(name, yaml)}>
              {text.download}
            </Button>
            {form.may_save && (
              <Button
                size="xs"
                colorPalette="brand"
                disabled={judged.of !== yaml || problems.length > 0 || judged.problem !== undefined}
                onClick={() => setAsked(true)}
              >
                {text.save}
              </Button>
            )}
          </HStack>
        </HStack>
      }
    >
      <Stack gap={3}>
        {failed && <Text color="red.fg">{text.notCopied}</Text>}
        <Yaml label={text.file} source={yaml} marked={marked} />
        <Box role="region" aria-live="polite" aria-label={text.judgement}>
          {judged.problem && <Trouble problem={judged.problem} />}
          {problems.length > 0 && <Problems problems={problems} />}
          {judged.problems?.length === 0 && <Text color="green.fg">{text.right}</Text>}
          {judged.problems === undefined && !judged.problem && (
            <Text color="fg.muted">{text.judging}</Text>
          )}
        </Box>
        {!form.may_save && <Text color="fg.muted">{text.where(name)}</Text>}
      </Stack>
      {asked && (
        <Confirm
          title={text.saveTitle(name)}
          consequence={text.saveConsequence(name)}
          action={text.save}
          onConfirm={async () => {
            const saved = await send<SavedTask>("POST", address("task-files"), { text: yaml });
            await navigate(places.task(saved.task));
          }}
          onClose={() => setAsked(false)}
        />
      )}
    </Card>
  );
}

function download(name: string, yaml: string): void {
  const url = URL.createObjectURL(new Blob([yaml], { type: "application/yaml" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${name}.yaml`;
  link.click();
  URL.revokeObjectURL(url);
}
