/** Where pages are, and what of their state the address holds, so that a link shows the same. */

import { useCallback, useMemo } from "react";
import { useSearchParams } from "react-router-dom";

const ROOT = "/plugin/dsp";

export const places = {
  home: ROOT,
  monitoring: (type = "warm", tab = "in_progress") => `${ROOT}/monitoring/${type}/${tab}`,
  run: (run: string) => `${ROOT}/runs/${encodeURIComponent(run)}`,
  job: (run: string, job: string) =>
    `${ROOT}/runs/${encodeURIComponent(run)}/jobs/${encodeURIComponent(job)}`,
  scheduling: `${ROOT}/scheduling`,
  tasks: `${ROOT}/tasks`,
  newTask: `${ROOT}/new-task`,
  task: (task: string, part?: string) =>
    `${ROOT}/tasks/${encodeURIComponent(task)}${part ? `/${part}` : ""}`,
  processes: `${ROOT}/processes`,
  newProcess: `${ROOT}/processes/new`,
  editProcess: (process: string) => `${ROOT}/processes/edit/${encodeURIComponent(process)}`,
  permissions: (of: Readonly<Record<string, string>> = {}) => `${ROOT}/permissions${query(of)}`,
  grantHistory: (of: Readonly<Record<string, string>> = {}) =>
    `${ROOT}/permissions/history${query(of)}`,
  connections: `${ROOT}/connections`,
  reports: (report = "jobs", period = "") => `${ROOT}/reports/${report}${period}`,
  approvals: (list = "waiting") => `${ROOT}/approvals/${list}`,
  request: (request: string) => `${ROOT}/requests/${encodeURIComponent(request)}`,
  airflowRun: (dag: string, run: string) =>
    `/dags/${encodeURIComponent(dag)}/runs/${encodeURIComponent(run)}`,
  /** Where Airflow shows the log of a step; of one in shards, which there are. */
  airflowStep: (dag: string, run: string, task: string, mapped: boolean) =>
    `${places.airflowRun(dag, run)}/tasks/${encodeURIComponent(task)}${mapped ? "/mapped" : ""}`,
  airflowDag: (dag: string) => `/dags/${encodeURIComponent(dag)}`,
  airflowConnections: (name = "") =>
    `/connections${query(name === "" ? {} : { name_pattern: name })}`,
};

function query(of: Readonly<Record<string, string>>): string {
  const text = new URLSearchParams(of).toString();
  return text === "" ? "" : `?${text}`;
}

export const SIZES = [25, 50, 100] as const;

export interface ListState {
  sort: string;
  descending: boolean;
  limit: number;
  offset: number;
  /** A filter's value; empty where it is not set. */
  filter: (name: string) => string;
  setFilter: (name: string, value: string) => void;
  /** Several at once, and the page that is shown then. */
  setFilters: (values: Readonly<Record<string, string>>, offset?: number) => void;
  setSort: (sort: string) => void;
  setPage: (offset: number, limit?: number) => void;
}

/** Sorting, page and filters of a table, as the address has them. */
export function useListState(sort: string, descending = true): ListState {
  const [params, setParams] = useSearchParams();
  const limit = choice(Number(params.get("limit")), SIZES);
  const offset = Math.max(0, Math.trunc(Number(params.get("offset")) || 0));
  const by = params.get("sort") ?? sort;
  const down = (params.get("order") ?? (descending ? "desc" : "asc")) !== "asc";

  const change = useCallback(
    (values: Readonly<Record<string, string | null>>, keepPage = false) =>
      setParams(
        (before) => {
          const after = new URLSearchParams(before);
          if (!keepPage) {
            after.delete("offset");
          }
          for (const [name, value] of Object.entries(values)) {
            if (value === null || value === "") {
              after.delete(name);
            } else {
              after.set(name, value);
            }
          }
          return after;
        },
        { replace: true },
      ),
    [setParams],
  );

  return useMemo(
    () => ({
      sort: by,
      descending: down,
      limit,
      offset,
      filter: (name: string) => params.get(name) ?? "",
      setFilter: (name: string, value: string) => change({ [name]: value }),
      setFilters: (values: Readonly<Record<string, string>>, at = 0) =>
        change({ ...values, offset: at > 0 ? String(at) : null }, true),
      setSort: (name: string) =>
        change({ sort: name, order: name === by && down ? "asc" : "desc" }),
      setPage: (at: number, size = limit) =>
        change({ offset: at > 0 ? String(at) : null, limit: String(size) }, true),
    }),
    [by, down, limit, offset, params, change],
  );
}

function choice(value: number, allowed: readonly number[]): number {
  return allowed.includes(value) ? value : (allowed[0] ?? 25);
}
