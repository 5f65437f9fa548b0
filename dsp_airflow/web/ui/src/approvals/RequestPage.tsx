/** One request: all that is decided on, what was decided, and the decision. */

import { Box, Button, Code, HStack, List, Progress, Table, Text } from "@chakra-ui/react";
import { type ReactNode, useState } from "react";
import { useParams } from "react-router-dom";
import { places } from "../address";
import { address, path, send } from "../api";
import { ago, bytes, count, elapsed, exact, period } from "../format";
import { Confirm } from "../parts/Confirm";
import { Diff } from "../parts/Diff";
import { Card, Facts, Title, To, Verbatim } from "../parts/layout";
import { Loading, Trouble } from "../parts/States";
import { Types } from "../parts/Types";
import { Fact, Moment, StateBadge } from "../parts/values";
import { useNow, usePolled } from "../polling";
import type { Estimate, NodeStand, RequestDetail } from "../shapes";
import { words } from "../words";
import { type Clock, clocks } from "./clocks";

const text = words.request;

export function RequestPage() {
  const { request = "" } = useParams();
  return <Request key={request} id={request} />;
}

function Request({ id }: { id: string }) {
  const found = usePolled<RequestDetail>(address(path("requests", id)));
  const request = found.data;
  return (
    <>
      {found.problem && <Trouble problem={found.problem} at={found.at} retry={found.reload} />}
      {!request && !found.problem && <Loading what={text.what} />}
      {request && (
        <>
          <Title
            beside={<StateBadge state={request.state} text={words.requestStates[request.state]} />}
            under={<Origin request={request} />}
            actions={<Actions request={request} done={found.reload} />}
          >
            {request.title}
          </Title>
          {request.reason && (
            <Text mb={4} overflowWrap="anywhere">
              {request.reason}
            </Text>
          )}
          <Clocks request={request} />
          <Nodes request={request} />
          <Work request={request} />
          <Changes request={request} />
          {request.evidence.jobs?.map((job) => (
            <Job key={job.name} job={job} />
          ))}
          <Definition request={request} />
          <History request={request} />
        </>
      )}
    </>
  );
}

function Origin({ request }: { request: RequestDetail }) {
  return (
    <>
      {words.types[request.task_type] ?? request.task_type}, {text.askedBy(request.requester)},{" "}
      <Moment at={request.created_at} /> · <Code>{request.id}</Code> ·{" "}
      <To to={places.airflowDag(request.task)}>{request.task}</To>
      {request.covered_by && (
        <>
          {" · "}
          {text.covered} <To to={places.request(request.covered_by)}>{request.covered_by}</To>
        </>
      )}
    </>
  );
}

function Clocks({ request }: { request: RequestDetail }) {
  const now = useNow();
  return (
    <Card title={text.clocks}>
      <HStack gap={4} align="start" wrap="wrap">
        {clocks(request).map((clock) => (
          <Box key={clock.name} flex="1" minW="12rem" data-clock={clock.state}>
            <Text fontSize="xs" color="fg.muted" mb={1}>
              {text.clockOf(text.clockNames[clock.name], period(clock.length))}
            </Text>
            <Progress.Root
              value={share(clock, now) * 100}
              size="md"
              colorPalette={COLOURS[clock.state]}
              aria-label={text.clockNames[clock.name]}
            >
              <Progress.Track borderRadius="full">
                <Progress.Range />
              </Progress.Track>
            </Progress.Root>
            <Text fontSize="xs" mt={1} title={clock.ends ? exact(clock.ends) : undefined}>
              {clockText(clock, now)}
            </Text>
          </Box>
        ))}
      </HStack>
    </Card>
  );
}

const COLOURS: Readonly<Record<Clock["state"], string>> = {
  next: "gray",
  runs: "running",
  met: "success",
  expired: "failed",
  skipped: "gray",
};

function share(clock: Clock, now: number): number {
  if (clock.began === null || clock.ends === null) {
    return 0;
  }
  return clock.state === "runs" ? elapsed(clock.began, clock.ends, now) : 1;
}

function clockText(clock: Clock, now: number): string {
  switch (clock.state) {
    case "next":
      return text.clockNext;
    case "skipped":
      return text.clockSkipped;
    case "runs":
      return text.clockRuns(ago(clock.ends ?? "", now));
    case "expired":
      return text.clockExpired;
    case "met":
      return text.clockOver;
  }
}

function Nodes({ request }: { request: RequestDetail }) {
  const now = request.nodes.findIndex((node) => node.verdict === null);
  return (
    <Card title={text.nodes}>
      <Facts>
        <Fact label={text.process}>
          {text.processText(request.process, text.level(request.level, request.level_name))}
        </Fact>
        <Fact label={text.why}>
          {request.evidence.subtypes.join(", ")};{" "}
          {request.rows === null
            ? text.unknownRows
            : text.rows(count(request.rows), bytes(request.bytes))}
        </Fact>
      </Facts>
      <List.Root as="ol" mt={4} gap={3} variant="plain">
        {request.nodes.map((node, at) => (
          <List.Item
            // biome-ignore lint/suspicious/noArrayIndexKey: a node is its place
            key={at}
            display="flex"
            gap={3}
          >
            <Text fontWeight="medium" minW="1.5rem">
              {at + 1}.
            </Text>
            <Node node={node} decides={request.state === "APPROVING" && at === now} />
          </List.Item>
        ))}
      </List.Root>
    </Card>
  );
}

function Node({ node, decides }: { node: NodeStand; decides: boolean }) {
  return (
    <Box minW={0}>
      <HStack wrap="wrap">
        <Text fontWeight="medium">{node.label}</Text>
        {node.verdict ? (
          <StateBadge state={VERDICTS[node.verdict]} text={text.verdicts[node.verdict]} />
        ) : (
          decides && <StateBadge state="APPROVING" text={text.nodeNow} />
        )}
        {node.decided_at && (
          <Text fontSize="sm" color="fg.muted">
            {node.verdict !== "automatic" && words.monitoring.by(node.actor ?? "")}{" "}
            <Moment at={node.decided_at} />
          </Text>
        )}
      </HStack>
      {node.comment && (
        <Text mt={1} ps={3} borderStartWidth="3px" whiteSpace="pre-wrap" overflowWrap="anywhere">
          {node.comment}
        </Text>
      )}
      {node.verdict === null && (
        <Text fontSize="sm" color={node.members.length > 0 ? "fg.muted" : "red.fg"}>
          {node.members.length > 0 ? text.members(node.members.join(", ")) : text.nobody}
        </Text>
      )}
    </Box>
  );
}

const VERDICTS = { approved: "succeeded", rejected: "failed", automatic: "planned" } as const;

function Work({ request }: { request: RequestDetail }) {
  const { evidence } = request;
  const deletes = (evidence.jobs ?? []).filter((job) => job.deletes !== null);
  const warnings = (evidence.jobs ?? []).flatMap((job) => job.warnings);
  return (
    <Card title={text.estimates}>
      <Facts>
        <Fact label={text.does}>{evidence.subtypes.join(", ")}</Fact>
        <Fact label={text.on}>
          {evidence.connections
            .map((one) =>
              one.labels.length > 0 ? `${one.name} (${one.labels.join(", ")})` : one.name,
            )
            .join(", ")}
        </Fact>
        <Fact label={words.approvals.columns.rows}>{count(evidence.rows)}</Fact>
        <Fact label={words.approvals.columns.bytes}>{bytes(evidence.bytes)}</Fact>
      </Facts>
      <Box mt={4}>
        {deletes.length > 0 ? (
          <Remark colour="failed.solid" title={text.deletes}>
            {deletes.map((job) => (
              <Text key={job.name} overflowWrap="anywhere">
                {job.name}: {job.deletes}
              </Text>
            ))}
          </Remark>
        ) : (
          !evidence.subtypes.includes("delete") && (
            <Text color="fg.muted">{text.deletesNothing}</Text>
          )
        )}
        {warnings.length > 0 && (
          <Remark colour="up_for_retry.solid" title={text.warnings}>
            {warnings.map((one) => (
              <Text key={one} overflowWrap="anywhere">
                {one}
              </Text>
            ))}
          </Remark>
        )}
      </Box>
    </Card>
  );
}

function Remark(props: { colour: string; title: string; children: ReactNode }) {
  return (
    <Box borderStartWidth="4px" borderStartColor={props.colour} ps={3} mb={3}>
      <Text fontWeight="semibold">{props.title}</Text>
      {props.children}
    </Box>
  );
}

function Changes({ request }: { request: RequestDetail }) {
  const { changes } = request.evidence;
  return (
    <Card title={text.changes}>
      {changes === null && <Text color="fg.muted">{text.neverApproved}</Text>}
      {changes?.length === 0 && <Text color="fg.muted">{text.unchanged}</Text>}
      {changes && changes.length > 0 && <Diff lines={changes} />}
    </Card>
  );
}

function Job({ job }: { job: Estimate }) {
  return (
    <Card title={job.name}>
      <Text mb={3} overflowWrap="anywhere">
        {job.source} → {job.target}, {text.rows(count(job.rows), bytes(job.bytes))}
        {job.create && `, ${text.creates}`}
      </Text>
      {job.columns.length > 0 && (
        <Box mb={3}>
          <Types pairs={job.columns} />
        </Box>
      )}
      <Text fontSize="xs" color="fg.muted" mb={1}>
        {text.sql}
      </Text>
      {job.statements.map((statement) => (
        <Verbatim key={statement}>{statement}</Verbatim>
      ))}
    </Card>
  );
}

function Definition({ request }: { request: RequestDetail }) {
  const { definition } = request.evidence;
  const shown =
    typeof definition === "string" ? definition : JSON.stringify(definition ?? null, null, 2);
  return (
    <Card title={text.definition}>
      <Box as="dl" m={0}>
        <Fact label={text.digest}>
          <Code fontSize="xs">{request.digest}</Code>
        </Fact>
      </Box>
      <Box asChild mt={3}>
        <details open={(request.evidence.jobs ?? []).length === 0}>
          <summary>{text.definition}</summary>
          <Verbatim>{shown}</Verbatim>
        </details>
      </Box>
    </Card>
  );
}

function History({ request }: { request: RequestDetail }) {
  const titles = text.historyColumns;
  return (
    <Card title={text.history}>
      <Table.Root size="sm" aria-label={text.history}>
        <Table.Header>
          <Table.Row>
            <Table.ColumnHeader>{titles.at}</Table.ColumnHeader>
            <Table.ColumnHeader>{titles.state}</Table.ColumnHeader>
            <Table.ColumnHeader>{titles.by}</Table.ColumnHeader>
            <Table.ColumnHeader>{titles.note}</Table.ColumnHeader>
          </Table.Row>
        </Table.Header>
        <Table.Body>
          {request.history.map((one) => (
            <Table.Row key={one.version}>
              <Table.Cell>
                <Moment at={one.changed_at} />
              </Table.Cell>
              <Table.Cell>{words.requestStates[one.after]}</Table.Cell>
              <Table.Cell>{one.actor}</Table.Cell>
              <Table.Cell overflowWrap="anywhere">{one.note}</Table.Cell>
            </Table.Row>
          ))}
        </Table.Body>
      </Table.Root>
    </Card>
  );
}

type Act = "approve" | "reject" | "cancel" | "execute";

function Actions({ request, done }: { request: RequestDetail; done: () => void }) {
  // What was before the eyes when the button was pressed: the decision is about that.
  const [asked, setAsked] = useState<{ act: Act; seen: RequestDetail }>();
  const ask = (act: Act) => setAsked({ act, seen: request });
  return (
    <>
      {request.may_execute && (
        <Button size="sm" colorPalette="brand" onClick={() => ask("execute")}>
          {text.execute}
        </Button>
      )}
      {request.may_decide && (
        <>
          <Button size="sm" colorPalette="brand" onClick={() => ask("approve")}>
            {text.approve}
          </Button>
          <Button size="sm" variant="outline" colorPalette="red" onClick={() => ask("reject")}>
            {text.reject}
          </Button>
        </>
      )}
      {request.may_cancel && (
        <Button size="sm" variant="outline" onClick={() => ask("cancel")}>
          {text.cancel}
        </Button>
      )}
      {asked && (
        <Act
          act={asked.act}
          request={asked.seen}
          onClose={() => {
            setAsked(undefined);
            done();
          }}
        />
      )}
    </>
  );
}

function Act(props: { act: Act; request: RequestDetail; onClose: () => void }) {
  const { act, request, onClose } = props;
  const what = `${request.evidence.subtypes.join(", ")}; ${
    request.rows === null ? text.unknownRows : text.rows(count(request.rows), bytes(request.bytes))
  }`;
  const last = request.nodes.filter((node) => node.verdict === null).length === 1;
  const post = async (body: object) => {
    await send("POST", address(path("requests", request.id, act)), body);
  };
  const seen = { version: request.version, digest: request.digest };
  switch (act) {
    case "approve":
      return (
        <Confirm
          title={text.approveTitle(request.title)}
          consequence={`${text.approveConsequence(what)} ${last ? text.approveLast : ""}`}
          action={text.approve}
          comment={{ label: words.confirm.comment, required: false }}
          onConfirm={(comment) => post({ ...seen, comment })}
          onClose={onClose}
        />
      );
    case "reject":
      return (
        <Confirm
          title={text.rejectTitle(request.title)}
          consequence={text.rejectConsequence}
          action={text.reject}
          danger
          comment={{ label: words.confirm.comment, required: true }}
          onConfirm={(comment) => post({ ...seen, comment })}
          onClose={onClose}
        />
      );
    case "cancel":
      return (
        <Confirm
          title={text.cancelTitle(request.title)}
          consequence={text.cancelConsequence}
          action={text.cancel}
          danger
          comment={{ label: words.confirm.reason, required: false }}
          onConfirm={(comment) => post({ comment })}
          onClose={onClose}
        />
      );
    case "execute":
      return (
        <Confirm
          title={text.executeTitle(request.title)}
          consequence={text.executeConsequence(what, period(request.clocks.execution))}
          action={text.execute}
          onConfirm={() => post({})}
          onClose={onClose}
        />
      );
  }
}
