// Api: calls of the server's operations, typed by its own description, and how it refuses.
// It must not know who is signed in beyond the header it is given, nor what a page does with an answer.

import type { Described, OperationName } from "./described";
import { read as readJson, written } from "./exact";
import { OPERATIONS } from "./generated/operations";
import { noteClock } from "./time";

type Operation<Name extends OperationName> = Described[Name];
type Part<T, Key extends string> = T extends { [K in Key]?: infer V } ? Exclude<V, undefined> : never;
type Parameters<Name extends OperationName> = Part<Operation<Name>, "parameters">;
type Json<T> = T extends { content: { "application/json": infer V } } ? V : never;
type Responses<Name extends OperationName> = Part<Operation<Name>, "responses">;

export type Query<Name extends OperationName> = Part<Parameters<Name>, "query">;
export type Body<Name extends OperationName> = Json<Part<Operation<Name>, "requestBody">>;
export type Answer<Name extends OperationName> = Json<
  Responses<Name>[keyof Responses<Name> & (200 | 201 | 202)]
>;

type Field<Key extends string, V> = [V] extends [never] ? { [K in Key]?: never } : { [K in Key]?: V };
type PathField<V> = [V] extends [never] ? { path?: never } : { path: V };
export type Given<Name extends OperationName> = PathField<Part<Parameters<Name>, "path">> &
  Field<"query", Query<Name>> &
  Field<"body", Body<Name>> & {
    /** Ends the call early. */
    signal?: AbortSignal;
  };

/** What is wrong with one part of a request, or of an output that does not fit its form. */
export interface FieldError {
  /** JSON Pointer into what was sent. */
  pointer: string;
  message: string;
  /** Which rule was broken, if a rule was. */
  code?: string;
}

/** The server answered, and said no. `detail` is for people. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly errors: readonly FieldError[] = [],
    readonly facts: Readonly<Record<string, unknown>> = {},
  ) {
    super(detail);
    this.name = "Refused";
  }
}

/** Nobody answered: whether anything was done is not known. */
export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached.");
    this.name = "Unreachable";
  }
}

/** Whether the same call may go well a little later. */
export const isPassing = (error: unknown) =>
  error instanceof Unreachable || (error instanceof Refused && (error.status >= 500 || error.status === 429));

/** The API beside the page, wherever both are mounted. */
export const BASE = typeof document === "undefined" ? "" : new URL("../v1/", document.baseURI).href;

/** Milliseconds after which a call that got no answer is tried again. */
const AGAIN_AFTER = [400, 1200];

/** Set by the session: what proves who calls, and what happens when it does not any more. */
export const identity: {
  headers: () => Record<string, string>;
  /** The headers that proved nothing: whoever called may have signed in anew meanwhile. */
  rejected: (headers: Readonly<Record<string, string>>) => void;
} = {
  headers: () => ({}),
  rejected: () => undefined,
};

/** Raises Refused, Unreachable, and AbortError when `signal` ends it. */
export async function call<Name extends OperationName>(
  name: Name,
  ...[given]: Record<string, never> extends Given<Name> ? [given?: Given<Name>] : [given: Given<Name>]
): Promise<Answer<Name>> {
  const asked = (given ?? {}) as Loose;
  const [method, template, keyed] = OPERATIONS[name] as readonly [string, string, boolean];
  const url = address(template, asked.path, asked.query);
  const headers: Record<string, string> = { accept: "application/json", ...identity.headers() };
  if (asked.body !== undefined) headers["content-type"] = "application/json";
  // Under one key a command is done once, so it may be sent again when no answer came.
  if (keyed) headers["idempotency-key"] = randomKey();
  const body = method === "GET" ? undefined : written(asked.body ?? {});
  if (body !== undefined) headers["content-type"] = "application/json";
  const again = keyed || method === "GET";
  const response = await answered(url, { method, headers, body, signal: asked.signal }, again);
  noteClock(response.headers.get("date"));
  if (response.status === 401) identity.rejected(headers);
  return (await read(response)) as Answer<Name>;
}

interface Loose {
  path?: Record<string, string>;
  query?: Record<string, unknown>;
  body?: unknown;
  signal?: AbortSignal;
}

async function answered(url: string, request: RequestInit, again: boolean): Promise<Response> {
  for (let tried = 0; ; tried++) {
    try {
      return await fetch(url, { ...request, cache: "no-store" });
    } catch (error) {
      if (request.signal?.aborted) throw error;
      const pause = AGAIN_AFTER[tried];
      if (!again || pause === undefined) throw new Unreachable();
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

async function read(response: Response): Promise<unknown> {
  if (response.status === 204) return null;
  const body: unknown = await response
    .text()
    .then(readJson)
    .catch(() => null);
  if (response.ok) return body;
  throw refusal(response.status, body);
}

/** The problem document as an error; also of an answer that is none, such as a proxy's own page. */
export function refusal(status: number, body: unknown): Refused {
  const problem = (body ?? {}) as Partial<Record<string, unknown>>;
  const detail = typeof problem.detail === "string" ? problem.detail : `The server answered with ${status}.`;
  const code = typeof problem.code === "string" ? problem.code : `http_${status}`;
  const facts = (problem.facts ?? {}) as Record<string, unknown>;
  const errors = Array.isArray(problem.errors) ? problem.errors.map(fieldError) : [];
  return new Refused(status, code, detail, errors, facts);
}

function fieldError(error: Record<string, unknown>): FieldError {
  const message = String(error.message ?? "");
  const code = String(error.code ?? "");
  if (typeof error.pointer === "string") return { pointer: error.pointer, message, code };
  const path = String(error.field ?? "");
  return { pointer: path ? `/${path.split(".").join("/")}` : "", message, code };
}

function address(
  template: string,
  path: Record<string, string> = {},
  query: Record<string, unknown> = {},
): string {
  const filled = template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(path[name] ?? ""));
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") search.append(name, String(one));
    }
  }
  return `${BASE}${filled}${search.size ? `?${search}` : ""}`;
}

/** crypto.randomUUID exists on secure pages only, and a server in one's own network may have none. */
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Refusals whose detail speaks of what people never see. */
const WORDS: Readonly<Record<string, string>> = {
  stale_token: "This task is not in your hands any more: it has ended, or somebody else has it.",
};

/** What to tell a person about `error`. */
export function said(error: unknown): string {
  if (error instanceof Refused && error.code in WORDS) return WORDS[error.code] ?? error.detail;
  return error instanceof Error ? error.message : String(error);
}
