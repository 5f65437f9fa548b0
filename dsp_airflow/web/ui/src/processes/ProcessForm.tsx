/** A process, made or changed in two steps: basics and levels, then connections. */

import { Box, Button, Flex, HStack, Stack, Text } from "@chakra-ui/react";
import { useState } from "react";
import { useNavigate, useParams } from "react-router-dom";
import { places } from "../address";
import { address, type Problem, path, problemFrom, send } from "../api";
import { Check, Choice, TextField } from "../parts/Fields";
import { Card, Title } from "../parts/layout";
import { Loading, Trouble } from "../parts/States";
import { usePolled } from "../polling";
import type { ProcessLine } from "../shapes";
import { words } from "../words";
import { type Draft, type DraftLevel, draftOf, newLevel, SUBTYPES, valuesOf } from "./draft";

const text = words.processes;
const fields = text.fields;
const MOST_LEVELS = 10;

export function ProcessForm() {
  const { process } = useParams();
  const url = process === undefined ? null : address(path("processes", process));
  const found = usePolled<ProcessLine>(url, null);
  if (process === undefined) {
    return <Form />;
  }
  return (
    <>
      {found.problem && <Trouble problem={found.problem} retry={found.reload} />}
      {!found.data && !found.problem && <Loading what={text.processes} />}
      {found.data && <Form key={process} before={found.data} />}
    </>
  );
}

function Form({ before }: { before?: ProcessLine }) {
  const [draft, setDraft] = useState(() => draftOf(before));
  const [step, setStep] = useState(1);
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const navigate = useNavigate();
  const change = (part: Partial<Draft>) => setDraft((known) => ({ ...known, ...part }));
  const save = async () => {
    setBusy(true);
    try {
      const route = before ? path("processes", before.name) : "processes";
      const values = valuesOf(draft, before);
      await send(before ? "PUT" : "POST", address(route), values);
      await navigate(places.processes);
    } catch (error) {
      setProblem(problemFrom(error));
      setBusy(false);
    }
  };
  return (
    <Box maxW="60rem">
      <Title under={text.step(step)}>{before ? text.editTitle(before.name) : text.create}</Title>
      {problem && <Trouble problem={problem} title={words.problems.notDone} />}
      {step === 1 ? (
        <BasicsAndLevels draft={draft} change={change} fixed={before !== undefined} />
      ) : (
        <Connections draft={draft} change={change} />
      )}
      <HStack justify="end">
        <Button variant="outline" onClick={() => void navigate(places.processes)}>
          {text.discard}
        </Button>
        {step === 1 ? (
          <Button colorPalette="brand" onClick={() => setStep(2)}>
            {text.next}
          </Button>
        ) : (
          <>
            <Button variant="outline" onClick={() => setStep(1)}>
              {text.back}
            </Button>
            <Button colorPalette="brand" loading={busy} onClick={() => void save()}>
              {text.save}
            </Button>
          </>
        )}
      </HStack>
    </Box>
  );
}

interface StepProps {
  draft: Draft;
  change: (part: Partial<Draft>) => void;
}

function BasicsAndLevels({ draft, change, fixed }: StepProps & { fixed: boolean }) {
  const setLevel = (at: number, level: DraftLevel) =>
    change({ levels: draft.levels.map((one, place) => (place === at ? level : one)) });
  return (
    <>
      <Card title={text.basics}>
        <Flex gap={4} wrap="wrap">
          <TextField
            label={fields.name}
            value={draft.name}
            disabled={fixed}
            set={(name) => change({ name })}
          />
          <Choice
            label={text.columns.type}
            value={draft.taskType}
            options={words.types}
            disabled={fixed}
            set={(taskType) => change({ taskType })}
          />
          <TextField
            label={fields.remarks}
            value={draft.remarks}
            set={(remarks) => change({ remarks })}
          />
          {(["approval", "waiting", "execution"] as const).map((name) => (
            <TextField
              key={name}
              label={`${words.request.clockNames[name]}, ${text.atMost}`}
              value={draft.validity[name]}
              set={(value) => change({ validity: { ...draft.validity, [name]: value } })}
            />
          ))}
          <Choice
            label={fields.start}
            value={draft.start}
            options={text.starts}
            set={(start) => change({ start })}
          />
          <Choice
            label={fields.approve}
            value={draft.approve}
            options={text.approves}
            set={(approve) => change({ approve })}
          />
          <Stack gap={1} justify="end">
            <Check
              label={fields.requester}
              checked={draft.requesterMayDecide}
              set={(requesterMayDecide) => change({ requesterMayDecide })}
            />
            <Check
              label={fields.samePerson}
              checked={draft.samePersonMayDecide}
              set={(samePersonMayDecide) => change({ samePersonMayDecide })}
            />
          </Stack>
        </Flex>
      </Card>
      {draft.levels.map((level, at) => (
        <Level
          // biome-ignore lint/suspicious/noArrayIndexKey: a level is its place
          key={at}
          number={at + 1}
          level={level}
          set={(changed) => setLevel(at, changed)}
          {...(draft.levels.length > 1 && {
            remove: () => change({ levels: draft.levels.filter((_, place) => place !== at) }),
          })}
        />
      ))}
      <Button
        size="sm"
        variant="outline"
        mb={4}
        disabled={draft.levels.length >= MOST_LEVELS}
        onClick={() => change({ levels: [...draft.levels, newLevel()] })}
      >
        {text.addLevel}
      </Button>
    </>
  );
}

interface LevelProps {
  number: number;
  level: DraftLevel;
  set: (level: DraftLevel) => void;
  remove?: () => void;
}

function Level({ number, level, set, remove }: LevelProps) {
  const nodes = (changed: DraftLevel["nodes"]) => set({ ...level, nodes: changed });
  return (
    <Card title={words.request.level(number, level.name || null)}>
      <Flex gap={4} wrap="wrap" mb={3}>
        <TextField
          label={fields.levelName}
          value={level.name}
          set={(name) => set({ ...level, name })}
        />
        <TextField
          label={fields.maxRows}
          value={level.maxRows}
          set={(maxRows) => set({ ...level, maxRows })}
        />
        <TextField
          label={fields.maxBytes}
          value={level.maxBytes}
          set={(maxBytes) => set({ ...level, maxBytes })}
        />
        <TextField
          label={fields.maxStatements}
          value={level.maxStatements}
          set={(maxStatements) => set({ ...level, maxStatements })}
        />
        <TextField
          label={fields.levelLabels}
          value={level.labels}
          set={(labels) => set({ ...level, labels })}
        />
      </Flex>
      <HStack wrap="wrap" gap={4} mb={3}>
        {SUBTYPES.map((name) => (
          <Check
            key={name}
            label={name}
            checked={level.subtypes.includes(name)}
            set={(on) =>
              set({
                ...level,
                subtypes: SUBTYPES.filter((one) =>
                  one === name ? on : level.subtypes.includes(one),
                ),
              })
            }
          />
        ))}
      </HStack>
      <Stack gap={2}>
        {level.nodes.map((node, at) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a node is its place
          <HStack key={at} align="end">
            <Text w="1.5rem">{at + 1}.</Text>
            <Choice
              label={fields.node}
              value={node.kind}
              options={text.nodeKinds}
              set={(kind) =>
                nodes(
                  level.nodes.map((one, place) =>
                    place === at ? { ...one, kind: kind as typeof node.kind } : one,
                  ),
                )
              }
            />
            {node.kind !== "automatic" && (
              <TextField
                label={text.nodeKinds[node.kind]}
                value={node.name}
                set={(name) =>
                  nodes(level.nodes.map((one, place) => (place === at ? { ...one, name } : one)))
                }
              />
            )}
            <Button
              size="sm"
              variant="ghost"
              disabled={level.nodes.length === 1}
              onClick={() => nodes(level.nodes.filter((_, place) => place !== at))}
            >
              {text.remove}
            </Button>
          </HStack>
        ))}
        <HStack>
          <Button
            size="sm"
            variant="outline"
            onClick={() => nodes([...level.nodes, { kind: "role", name: "" }])}
          >
            {text.addNode}
          </Button>
          {remove && (
            <Button size="sm" variant="ghost" colorPalette="red" onClick={remove}>
              {text.removeLevel}
            </Button>
          )}
        </HStack>
      </Stack>
    </Card>
  );
}

function Connections({ draft, change }: StepProps) {
  return (
    <Card title={text.columns.connections}>
      <Stack gap={3}>
        <Check
          label={text.allConnections}
          checked={draft.everywhere}
          set={(everywhere) => change({ everywhere })}
        />
        {!draft.everywhere && (
          <>
            <Text color="fg.muted">{text.connectionsHint}</Text>
            <TextField
              label={fields.connectionNames}
              value={draft.names}
              set={(names) => change({ names })}
            />
            <TextField
              label={fields.connectionLabels}
              value={draft.labels}
              set={(labels) => change({ labels })}
            />
          </>
        )}
      </Stack>
    </Card>
  );
}
