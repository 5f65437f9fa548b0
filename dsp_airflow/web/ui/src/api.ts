/** The one way to the API: what it answers, or a `Problem` that says what happened. */

import { words } from "./words";

export interface Page<T> {
  items: T[];
  total: number;
  limit: number;
  offset: number;
}

interface Mistake {
  where: string;
  message: string;
  suggestion: string | null;
}

/** Why something was not done (RFC 9457), or why nobody answered: status 0. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    readonly status: number,
    readonly detail: string,
    readonly mistakes: readonly Mistake[] = [],
  ) {
    super(detail);
  }

  /** Whether trying again, with nothing changed, may help. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }

  /** Whether somebody has to log in first. */
  get loggedOut(): boolean {
    return this.status === 401;
  }
}

export type Query = Readonly<
  Record<string, string | number | boolean | readonly string[] | null | undefined>
>;

/** The address of a route; what is null or empty is left out of its query. */
export function address(path: string, query: Query = {}): string {
  const url = new URL(`dsp/api/v1/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") {
        url.searchParams.append(name, String(one));
      }
    }
  }
  return url.href;
}

/** A path of parts that may hold anything. */
export function path(...parts: readonly (string | number)[]): string {
  return parts.map((part) => encodeURIComponent(part)).join("/");
}

export function get<T>(url: string, signal?: AbortSignal): Promise<T> {
  return ask<T>(url, signal ? { signal } : {});
}

export function send<T>(method: "POST" | "PUT" | "DELETE", url: string, body: object): Promise<T> {
  return ask<T>(url, {
    method,
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
  });
}

async function ask<T>(url: string, init: RequestInit): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(url, { credentials: "same-origin", redirect: "manual", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") {
      throw error;
    }
    throw new Problem(0, words.problems.unreachable);
  }
  // Who stands before Airflow, such as a company's login, sends elsewhere those it does not know.
  if (answer.type === "opaqueredirect") {
    throw new Problem(401, words.problems.loggedOut);
  }
  if (answer.ok) {
    return answer.status === 204 ? (undefined as T) : ((await read(answer)) as T);
  }
  throw problemOf(answer.status, await read(answer).catch(() => null));
}

async function read(answer: Response): Promise<unknown> {
  try {
    return await answer.json();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") {
      throw error;
    }
    throw new Problem(answer.ok ? 502 : answer.status, words.problems.unreadable(answer.status));
  }
}

/** What an answer that is not a success says. Pure. */
export function problemOf(status: number, body: unknown): Problem {
  const said = isObject(body) ? body : {};
  const detail = typeof said["detail"] === "string" ? said["detail"] : "";
  // Airflow says so of a token that it no longer knows.
  if (status === 401 || (status === 403 && detail === "Invalid JWT token")) {
    return new Problem(401, words.problems.loggedOut);
  }
  const mistakes = Array.isArray(said["mistakes"]) ? (said["mistakes"] as Mistake[]) : [];
  return new Problem(status, detail || words.problems.unreadable(status), mistakes);
}

/** Whatever was thrown, as a problem. */
export function problemFrom(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, String(error));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** Airflow's login, which comes back to the page it was left from. */
export function loginUrl(): string {
  const url = new URL("api/v2/auth/login", document.baseURI);
  url.searchParams.set("next", window.location.href);
  return url.href;
}
