// Waiting: the tasks that wait for me, kept as they are now while somebody is signed in.
// It must not know how they are shown.

import { computed, effect, signal } from "@preact/signals";
import { call } from "./api";
import type { Event, Task } from "./described";
import { connected, epoch, onEvents } from "./live";

type Tasks = ReadonlyMap<string, Task>;

/** By id; null: not read yet. */
export const waiting = signal<Tasks | null>(null);
/** Whether there are more than were read. */
export const more = signal(false);
/** Why they could not be read. */
export const trouble = signal<unknown>(null);
export const count = computed(() => waiting.value?.size ?? 0);

const MOST = 300;
/** As many ids as one request may name. */
const PAGE = 100;
/** Milliseconds between two readings of what has changed. */
const REST = 300;
const AGAIN_AFTER = 3000;
/** Kinds of events after which a task may wait for me that did not before. */
const BRINGS: ReadonlySet<string> = new Set([
  "task.created",
  "task.ready",
  "task.claimed",
  "task.released",
  "task.updated",
  "task.retried",
  "task.lost",
]);

let touched = new Set<string>();
let all = false;
let working = false;
let again: ReturnType<typeof setTimeout> | undefined;
/** Stands for the one who is signed in; null: nobody is. What was read for one is never shown to another. */
let reader: object | null = null;

/** Reads, and follows what happens, until the returned function is called. */
export function start(): () => void {
  reader = {};
  let read = -1;
  const unheard = onEvents(note);
  let blind = true;
  // Also what was read before the events came may have changed since.
  const unfollowed = effect(() => {
    const begun = connected.value && blind;
    if (connected.value) blind = false;
    if (epoch.value !== read || begun) refresh();
    read = epoch.value;
  });
  return () => {
    reader = null;
    unheard();
    unfollowed();
    touched = new Set();
    waiting.value = null;
    more.value = false;
    trouble.value = null;
  };
}

/** Reads all of them again. */
export function refresh(): void {
  all = true;
  void work();
}

/** Takes over what a command answered, before its event comes. */
export function heard(task: Task): void {
  touched.add(task.id);
  void work();
}

function note(events: readonly Event[]): void {
  for (const { task_id: id, kind } of events)
    if (id !== null && (BRINGS.has(kind) || waiting.peek()?.has(id))) touched.add(id);
  if (touched.size > 0) void work();
}

/** One reading at a time, until nothing is left to read. */
async function work(): Promise<void> {
  const mine = reader;
  if (working || mine === null) return;
  working = true;
  try {
    while ((all || touched.size > 0) && mine === reader) {
      await readOnce(mine);
      await new Promise((resolve) => setTimeout(resolve, REST));
    }
  } catch (error) {
    if (mine === reader) {
      trouble.value = error;
      clearTimeout(again);
      again = setTimeout(refresh, AGAIN_AFTER); // what was to be read is forgotten by now
    }
  } finally {
    working = false;
    if (mine !== reader) void work();
  }
}

async function readOnce(mine: object): Promise<void> {
  const ids = [...touched];
  const whole = all || ids.length > PAGE || waiting.peek() === null;
  touched = new Set();
  all = false;
  const found = whole ? await readAll() : await readSome(ids);
  if (mine !== reader) return;
  waiting.value = found;
  trouble.value = null;
}

async function readAll(): Promise<Tasks> {
  const found = new Map<string, Task>();
  let cursor: string | null | undefined;
  do {
    const page = await call("list_tasks", { query: { waiting_for_me: true, limit: PAGE, cursor } });
    for (const task of page.items) found.set(task.id, task);
    cursor = page.next_cursor;
  } while (cursor && found.size < MOST);
  more.value = Boolean(cursor);
  return found;
}

async function readSome(ids: readonly string[]): Promise<Tasks> {
  const found = new Map(waiting.peek());
  for (const id of ids) found.delete(id);
  let cursor: string | null | undefined;
  do {
    const page = await call("list_tasks", {
      query: { waiting_for_me: true, ids: [...ids], limit: PAGE, cursor },
    });
    for (const task of page.items) found.set(task.id, task);
    cursor = page.next_cursor;
  } while (cursor);
  return found;
}
