// A task as a list shows it, and the order of lists: what is most urgent first, then what is oldest.
// It must not know how tasks are fetched or drawn. Inputs and outputs are left out: ten thousand of them would weigh.

import type { Event, Task } from "../described";

export type Row = Omit<
  Task,
  "input" | "output" | "metadata" | "description" | "retry" | "depends_on" | "form"
>;

export function rowOf(task: Task): Row {
  const { input, output, metadata, description, retry, depends_on, form, ...row } = task;
  return row;
}

/** What places a row: ids are made in order of time, so they tell which of two is older. */
export interface Place {
  priority: number;
  id: string;
}

export function compare(one: Place, other: Place): number {
  if (one.priority !== other.priority) return other.priority - one.priority;
  return one.id < other.id ? -1 : one.id > other.id ? 1 : 0;
}

/** Where `place` belongs among sorted `rows`: before the first that comes after it. */
export function placeOf(place: Place, rows: readonly Place[]): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compare(rows[middle] as Place, place) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The row as it is after an event: what the event records of it. The rest is asked for. */
export function patched(row: Row, event: Event): Row {
  const after = { ...row, updated_at: event.at } as Record<string, unknown>;
  for (const field of ["state", "attempt", "retry_count", "assigned_to", "priority", "progress"]) {
    if (event.data[field] !== undefined) after[field] = event.data[field];
  }
  return after as Row;
}

/** Which of two readings of a row is the later one. Times are compared as times: their text has fewer or more digits. */
export function later(held: Row, read: Row): Row {
  return Date.parse(held.updated_at) > Date.parse(read.updated_at) ? held : read;
}
