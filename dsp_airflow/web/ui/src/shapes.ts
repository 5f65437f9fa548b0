/** What the API answers. See docs/api.md; the server's models are in dsp_airflow/web/api. */

import type { Count } from "./format";
import type { Schema } from "./tasks/schema";

export type RunState = "planned" | "running" | "succeeded" | "failed" | "terminated";
export type JobState =
  | "waiting"
  | "planned"
  | "copying"
  | "copied"
  | "checking"
  | "checked"
  | "purging"
  | "succeeded"
  | "failed"
  | "terminated";
export type BatchState =
  | "waiting"
  | "copying"
  | "copied"
  | "checking"
  | "checked"
  | "different"
  | "purging"
  | "purged"
  | "kept";
export type SourceStatus = "keeps" | "unprocessed" | "partly" | "processed" | "kept";
export type Tab = "completed" | "in_progress" | "exception";

export interface JobCounts {
  name: string;
  type: string;
  state: JobState;
  source: string;
  target: string;
  batches: Count;
  batches_copied: Count;
  batches_checked: Count;
  batches_purged: Count;
  rows_total: Count;
  rows_read: Count;
  rows_written: Count;
  rows_failed: Count;
  rows_checked: Count;
  rows_different: Count;
  rows_purged: Count;
  rows_kept: Count;
  rows_gone: Count;
  bytes: Count;
  progress: number;
  rows_per_second: number | null;
  eta: string | null;
  source_data: SourceStatus;
  mode: string | null;
  /** What the task file wants of the source's rows; null: all of them. */
  filter: string | null;
  /** Null where the job is not checked. */
  check_percent: number | null;
  /** Whether the source's rows are deleted, and who asks for it. */
  purge: "none" | "manual" | "system";
  started_at: string | null;
  ended_at: string | null;
  error: string | null;
}

/** How far a run is undone. */
export type RollbackState = "begun" | "partly" | "done";

export interface AirflowRun {
  dag_id: string;
  dag_run_id: string;
}

export interface RunLine {
  id: string;
  task: string;
  title: string;
  owner: string | null;
  dag: string;
  types: string[];
  state: RunState;
  attempt: number;
  triggered_by: string | null;
  stop_requested: boolean;
  airflow: AirflowRun | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  seconds: number | null;
  error: string | null;
  next_step: string | null;
  rollback: RollbackState | null;
  /** Of all steps of all jobs, 0 to 1. */
  progress: number;
  jobs: JobCounts[];
}

export interface RunDetail extends RunLine {
  file: string;
  definition: { jobs?: JobDefinition[]; [key: string]: unknown };
  definition_digest: string;
  variables: Record<string, unknown>;
  stop: { asked_by: string | null; asked_at: string | null; reason: string | null } | null;
  notes: { job: string | null; text: string }[];
  losses: { job: string; column: string; rule: string; values: Count }[];
  request: string | null;
  steps: StepLine[];
  /** By job, the condition that is executed; null: all rows. */
  filters: Record<string, string | null>;
  may_steer: boolean;
  may_retry: boolean;
  may_purge: boolean;
  may_roll_back: boolean;
  may_re_execute: boolean;
  may_repair: boolean;
  afterwards: Afterwards;
}

/** What was done about a run since it ended. */
export interface Afterwards {
  rollbacks: RolledBack[];
  /** The run that does its work again. */
  again: string | null;
  /** The run whose work it does again. */
  again_of: string | null;
  repairs: Repaired[];
  /** Jobs of which rows differ. */
  repairable: string[];
  /** Jobs whose source table is not as before, for which the run was refused. */
  drifted: string[];
}

export interface RolledBack {
  job: string;
  by: string;
  begun_at: string;
  ended_at: string | null;
  removed: Count;
  restored: Count;
  kept: Count;
  reasons: { why: string; rows: Count }[];
}

export interface Repaired {
  job: string;
  by: string;
  begun_at: string;
  ended_at: string | null;
  batches: Count;
  rows_found: Count;
  rows_left: Count;
}

/** A source table, compared with what the last run found of it. */
export interface JobDrift {
  job: string;
  table: string;
  run: string | null;
  known: boolean;
  changes: { kind: string; what: string }[];
  digest: string | null;
  accepted: boolean;
}

/** Where a step's log is in Airflow; `job` is null for one of the whole run. */
export interface StepLine {
  job: string | null;
  step: string;
  task_id: string;
  mapped: boolean;
}

export interface JobDefinition {
  name: string;
  mode?: string;
  where?: unknown;
  check?: unknown;
  purge?: string;
  [key: string]: unknown;
}

export interface BatchLine {
  number: number;
  state: BatchState;
  source_data: "unprocessed" | "kept" | "processed";
  after: string[] | null;
  upto: string[] | null;
  rows: Count;
  rows_read: Count | null;
  rows_written: Count | null;
  rows_checked: Count | null;
  rows_different: Count | null;
  rows_purged: Count;
  rows_kept: Count | null;
  rows_gone: Count | null;
  bytes: Count | null;
  seconds: number | null;
  sampled: boolean;
  check_note: string | null;
  holder: string | null;
  attempts: number;
  error: string | null;
  copied_at: string | null;
  checked_at: string | null;
  purged_at: string | null;
  digest: string | null;
  receipts: Count[];
}

export interface StripCell {
  first: number;
  last: number;
  states: Partial<Record<BatchState, number>>;
  errors: number;
}

export interface Strip {
  batches: number;
  cells: StripCell[];
}

export interface DifferenceLine {
  job: string;
  batch: number;
  phase: "check" | "purge";
  kind: string;
  key: string[];
  columns: string[];
  reason: string;
  source: (string | null)[] | null;
  target: (string | null)[] | null;
}

export type RequestState =
  | "CREATED"
  | "APPROVING"
  | "REJECTED"
  | "APPROVAL_EXPIRED"
  | "WAIT_FOR_EXECUTION"
  | "WAIT_FOR_EXECUTION_EXPIRED"
  | "EXECUTING"
  | "EXECUTION_SUCCEEDED"
  | "EXECUTION_FAILED"
  | "EXECUTION_EXPIRED"
  | "CANCELLED";

export interface RequestLine {
  id: string;
  state: RequestState;
  version: number;
  task: string;
  title: string;
  task_type: string;
  process: string;
  level: number;
  level_name: string | null;
  requester: string;
  waits_for: string | null;
  until: string | null;
  rows: Count | null;
  bytes: Count | null;
  reason: string | null;
  created_at: string;
  ended_at: string | null;
}

export interface NodeStand {
  label: string;
  members: string[];
  verdict: "approved" | "rejected" | "automatic" | null;
  actor: string | null;
  comment: string | null;
  decided_at: string | null;
}

export interface RequestChange {
  version: number;
  before: RequestState | null;
  after: RequestState;
  actor: string;
  note: string;
  changed_at: string;
}

/** One job as a look at it found it. */
export interface TypePair {
  source: string;
  source_type: string;
  target: string;
  target_type: string;
  fit: string;
  note: string | null;
}

export interface Estimate {
  name: string;
  type: string;
  source: string;
  target: string;
  create: boolean;
  statements: string[];
  rows: Count;
  bytes: Count;
  columns: TypePair[];
  purge: string;
  deletes: string | null;
  warnings: string[];
}

export interface Evidence {
  definition?: unknown;
  subtypes: string[];
  connections: { name: string; labels: string[] }[];
  rows: Count | null;
  bytes: Count | null;
  jobs?: Estimate[];
  /** Lines of a diff to what was approved last; null where nothing was. */
  changes: string[] | null;
}

export interface RequestDetail extends RequestLine {
  key: string;
  digest: string;
  evidence: Evidence;
  nodes: NodeStand[];
  history: RequestChange[];
  clocks: { approval: number; waiting: number; execution: number };
  process_values: { levels?: Record<string, unknown>[]; [key: string]: unknown };
  covered_by: string | null;
  standing: boolean;
  may_decide: boolean;
  may_cancel: boolean;
  may_execute: boolean;
}

export interface Me {
  name: string;
  administrator: boolean;
  roles: string[];
  waiting: number;
  approval_enforced: boolean;
  may_see_audit: boolean;
  may_change_processes: boolean;
  may_change_roles: boolean;
  may_give_grants: boolean;
  /** On Airflow's own page. */
  may_edit_connections: boolean;
}

export interface UserLine {
  name: string;
  administrator: boolean;
  roles: string[];
  grants: number;
}

export interface RoleLine {
  role: string;
  members: string[];
  processes: string[];
}

export type Privilege = "read" | "write" | "purge" | "approve" | "administer";

export interface Scope {
  connection: string;
  container: string | null;
  item: string | null;
  is_path: boolean;
}

export interface GrantLine extends Scope {
  id: string;
  holder: string;
  is_role: boolean;
  privileges: Privilege[];
  until: string | null;
  granted_by: string;
  granted_at: string;
  request: string | null;
  over: boolean;
  may_revoke: boolean;
}

export interface AuditRecord {
  seq: Count;
  recorded_at: string;
  actor: string;
  action: string;
  object: string;
  before: unknown;
  after: unknown;
  address: string | null;
}

export interface ConnectionLine {
  name: string;
  /** Null where Airflow has no such connection. */
  type: string | null;
  tasks: string[];
  source_of: string[];
  target_of: string[];
  may_test: boolean;
}

export type FindingState = "ok" | "warning" | "failed";

export interface FindingLine {
  subject: string;
  state: FindingState;
  text: string;
  remedy: string;
}

export interface JobReport {
  task: string;
  job: string;
  type: string;
  source: string;
  target: string;
  runs: Count;
  succeeded: Count;
  failed: Count;
  rows_copied: Count;
  rows_purged: Count;
  bytes: Count;
  rows_per_second: number | null;
}

export type Reason = "failed" | "terminated" | "different" | "kept" | "silent" | "slow";

export interface AbnormalJob {
  task: string;
  job: string;
  type: string;
  source: string;
  target: string;
  reasons: Reason[];
  runs: Count;
  failed: Count;
  terminated: Count;
  rows_different: Count;
  rows_kept: Count;
  silent_since: string | null;
  last_rows_per_second: number | null;
  usual_rows_per_second: number | null;
  run: string;
  error: string | null;
  next_step: string | null;
}

export interface ArchiveReport {
  source: string;
  target: string;
  rows_before: Count;
  bytes_before: Count;
  days: { day: string; rows: Count; bytes: Count }[];
}

export type DrillResult = "right" | "failed" | "terminated" | "working";

export interface DrillLine {
  run: string;
  task: string;
  job: string;
  of_task: string;
  of_job: string;
  /** The archived run; null where none was drawn. */
  tried: string | null;
  batches: string | null;
  batches_tried: Count;
  batches_archived: Count | null;
  rows_restored: Count;
  rows_compared: Count;
  rows_different: Count;
  result: DrillResult;
  left: string | null;
  began_at: string;
  seconds: number | null;
  error: string | null;
  next_step: string | null;
}

export interface TriedLine {
  task: string;
  job: string;
  archives: Count;
  never: Count;
  failing: Count;
  last_at: string | null;
  longest: string;
  longest_since: string;
}

export type TaskState = "enabled" | "disabled" | "offline";

export interface TaskProblem {
  where: string;
  message: string;
  suggestion: string | null;
}

export interface TaskLine {
  name: string;
  title: string;
  owner: string | null;
  types: string[];
  schedule: string;
  state: TaskState;
  /** In Airflow; null where it has no such DAG. */
  paused: boolean | null;
  last_run: string | null;
  last_state: string | null;
  last_at: string | null;
  next_at: string | null;
  file: string | null;
  problems: TaskProblem[];
}

export interface TaskDetail extends TaskLine {
  description: string;
  yaml: string | null;
  switch: {
    state: TaskState;
    reason: string | null;
    changed_by: string | null;
    changed_at: string;
  } | null;
  runs: {
    id: string;
    state: RunState;
    triggered_by: string | null;
    created_at: string;
    ended_at: string | null;
  }[];
  may_steer: boolean;
  may_run: boolean;
}

export interface TaskForm {
  task_schema: Schema;
  processes: { name: string; task_type: string; remarks: string }[];
  approval_enforced: boolean;
  may_save: boolean;
}

export interface SavedTask {
  task: string;
  file: string;
}

/** A definition, and the runs that worked by it. */
export interface DefinitionLine {
  digest: string;
  first_at: string;
  last_at: string;
  runs: Count;
  run: string;
  /** Lines of a diff to the one before; null for the first one there was. */
  changes: string[] | null;
}

export interface TaskPlan {
  task: string;
  jobs: JobPlan[];
  approval: { process: string; level: Count; nodes: string[] } | null;
}

export interface JobPlan {
  name: string;
  /** As `dsp plan --json` has it; null where there is none. */
  plan: {
    rows: Count;
    bytes: Count;
    batches: Count;
    key: string[];
    create: boolean;
    filter: string | null;
    ddl: string[];
    warnings: string[];
    purge_refusals: string[];
    pairs: TypePair[];
  } | null;
  error: string | null;
}

export interface Switched {
  task: string;
  state: TaskState;
  going: string[];
  airflow: string;
}

export interface Day {
  day: string;
  types: string[];
  rows_copied: Count;
  rows_purged: Count;
  bytes: Count;
}

export interface Flow {
  source: string;
  target: string;
  rows: Count;
  bytes: Count;
}

export interface ProcessNode {
  role?: string;
  user?: string;
  automatic?: boolean;
}

export interface ProcessLevel {
  name?: string;
  subtypes?: string[];
  max_rows?: Count | null;
  max_bytes?: Count | null;
  max_statements?: Count | null;
  connection_labels?: string[];
  nodes?: ProcessNode[];
}

export interface ProcessValues {
  connections?: "all" | { names?: string[]; labels?: string[] };
  levels?: ProcessLevel[];
  validity?: { approval?: string; waiting?: string; execution?: string };
  approve?: "run" | "definition";
  start?: "automatic" | "manual";
  requester_may_decide?: boolean;
  same_person_may_decide?: boolean;
  remarks?: string;
  [key: string]: unknown;
}

export interface ProcessLine {
  name: string;
  task_type: string;
  enabled: boolean;
  priority: number;
  values: ProcessValues;
  /** Of one that is a file: it is changed there. */
  file: string | null;
  created_by: string | null;
  created_at: string | null;
  changed_by: string | null;
  changed_at: string | null;
}

export interface ProcessPage {
  items: ProcessLine[];
  total: number;
  limit: number;
  offset: number;
  broken: TaskProblem[];
}
