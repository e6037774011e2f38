// Facts: a task and all that belongs to it, read from the server and kept as it is now.
// It must not know how any of it is shown.

import { useEffect, useRef, useState } from "preact/hooks";
import { call } from "../api";
import type { Event, Task } from "../described";
import { onEvents } from "../live";
import { type Loaded, useLoaded } from "../loaded";

const PAGE = 500;
/** Events of one task that are shown. */
const MOST = 3000;
/** Pages of them that are read. */
const PAGES = 40;
const PRIOR = 20;

export function useTask(id: string): Loaded<Task> {
  return useLoaded(
    (signal) => call("get_task", { path: { task_id: id }, signal }),
    [id],
    (event) => event.task_id === id,
  );
}

/** Read once; what happens from then on comes by itself. */
export function useHistory(id: string): Loaded<Event[]> {
  const [fresh, setFresh] = useState<readonly Event[]>([]);
  const read = useLoaded((signal) => readHistory(id, signal), [id]);
  useEffect(() => {
    setFresh([]);
    return onEvents((events) => {
      const mine = events.filter((event) => event.task_id === id);
      if (mine.length > 0) setFresh((old) => folded([...old, ...mine]).slice(-MOST));
    });
  }, [id]);
  const last = read.value?.at(-1)?.seq ?? 0;
  const value = read.value && folded([...read.value, ...fresh.filter(({ seq }) => seq > last)]);
  return { ...read, value };
}

async function readHistory(id: string, signal: AbortSignal): Promise<Event[]> {
  let found: Event[] = [];
  let after = 0;
  for (let page = 0; page < PAGES && found.length < MOST; page++) {
    const { items } = await call("list_events", { query: { task_id: id, after, limit: PAGE }, signal });
    found = folded([...found, ...items]);
    after = items.at(-1)?.seq ?? after;
    if (items.length < PAGE) break;
  }
  return found;
}

/** Of reports of progress in a row the last alone: there may be one each second. */
function folded(events: readonly Event[]): Event[] {
  return events.filter(
    (event, at) => event.kind !== "task.progress" || events[at + 1]?.kind !== "task.progress",
  );
}

/** The tasks that this one waited for: what they found out is what it is about. */
export function usePrior(task: Task): Loaded<Task[]> {
  const ids = task.depends_on.slice(0, PRIOR);
  return useTasks(ids, ids.join());
}

/** At most one. */
export function useParent({ parent_task_id: id }: Task): Loaded<Task[]> {
  return useTasks(id === null ? [] : [id], id ?? "");
}

export function useChildren(id: string): Loaded<Task[]> {
  const known = useRef<ReadonlySet<string>>(new Set());
  const read = useLoaded(
    async (signal) => (await call("list_tasks", { query: { parent_task_id: id, limit: 100 }, signal })).items,
    [id],
    (event) => event.kind === "task.created" || known.current.has(event.task_id ?? ""),
  );
  known.current = new Set(read.value?.map((task) => task.id));
  return read;
}

function useTasks(ids: readonly string[], key: string): Loaded<Task[]> {
  return useLoaded(
    async (signal) => {
      if (ids.length === 0) return [];
      const { items } = await call("list_tasks", {
        query: { ids: [...ids], limit: 100, full: true },
        signal,
      });
      return ids.flatMap((id) => items.find((task) => task.id === id) ?? []);
    },
    [key],
    (event) => event.task_id !== null && ids.includes(event.task_id),
  );
}
