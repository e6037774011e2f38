// Which tasks a list shows, as the address says it and as the API takes it: both use the same names.
// It must not know how filters are drawn.

import type { TaskState } from "../described";
import { TASK_STATES } from "../states";

export const PRIORITIES = ["urgent", "high", "normal", "low"] as const;
export type PriorityName = (typeof PRIORITIES)[number];

export const MODES = ["auto", "manual"] as const;
export type Mode = (typeof MODES)[number];

/** Of these a task has one value, so a filter names one. */
const SINGLE = [
  "space_id",
  "capability",
  "assigned_to",
  "created_by",
  "workflow_id",
  "parent_task_id",
  "text",
] as const;
export type SingleField = (typeof SINGLE)[number];

export interface Filter {
  state: TaskState[];
  priority: PriorityName[];
  labels: string[];
  mode?: Mode;
  overdue?: true | undefined;
  waiting_for_me?: true | undefined;
  space_id?: string;
  capability?: string;
  assigned_to?: string;
  created_by?: string;
  workflow_id?: string;
  parent_task_id?: string;
  text?: string;
}

export const NOTHING: Filter = { state: [], priority: [], labels: [] };

/** What an address says. What it says wrongly is left out: an old link still opens. */
export function readFilter(query: URLSearchParams): Filter {
  const filter: Filter = {
    state: chosen(TASK_STATES, query.getAll("state")),
    priority: chosen(PRIORITIES, query.getAll("priority")),
    labels: [...new Set(query.getAll("labels").filter(Boolean))],
  };
  for (const field of SINGLE) {
    const value = query.get(field)?.trim();
    if (value) filter[field] = value;
  }
  const [mode] = chosen(MODES, query.getAll("mode"));
  if (mode !== undefined) filter.mode = mode;
  if (query.get("overdue") === "true") filter.overdue = true;
  if (query.get("waiting_for_me") === "true") filter.waiting_for_me = true;
  return filter;
}

export function writeFilter(filter: Filter): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(asked(filter))) {
    for (const each of Array.isArray(value) ? value : [value]) query.append(name, String(each));
  }
  return query;
}

/** The same for the API, as query or as body: only what is set, in one order. */
export function asked(filter: Filter): Partial<Filter> {
  const entries = Object.entries(filter).filter(([, value]) =>
    Array.isArray(value) ? value.length > 0 : value !== undefined && value !== "",
  );
  return Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** One filter is another's equal when the API is asked the same. */
export function keyOf(filter: Filter): string {
  return JSON.stringify(asked(filter));
}

export function isEmpty(filter: Filter): boolean {
  return Object.keys(asked(filter)).length === 0;
}

/** `value` added when it was not there, taken away when it was. */
export function toggled<Value>(values: readonly Value[], value: Value): Value[] {
  return values.includes(value) ? values.filter((each) => each !== value) : [...values, value];
}

function chosen<Value extends string>(known: readonly Value[], given: string[]): Value[] {
  return known.filter((value) => given.includes(value));
}
