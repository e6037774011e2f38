// Follow: a workflow's members and attempts as they were read, carried on by events without reading them again.
// It must not know where events come from, nor what is drawn of them.

import type { Attempt, Event, TaskState } from "../described";
import type { Member } from "./plan";

export interface Picture {
  readonly members: ReadonlyMap<string, Member>;
  readonly attempts: ReadonlyMap<string, readonly Attempt[]>;
  /** Of tasks that report it: percent and the last message. */
  readonly progress: ReadonlyMap<string, Progress>;
}

export interface Progress {
  readonly percent: number;
  readonly message: string | null;
}

/** The picture after some events, and what events do not tell and must be read. */
export interface Followed {
  readonly picture: Picture;
  /** Members came. */
  readonly graph: boolean;
  /** The workflow itself has moved. */
  readonly workflow: boolean;
  /** Attempts failed: events say of which type, not why. */
  readonly failed: ReadonlySet<string>;
}

const ENDS: Readonly<Record<string, Attempt["state"]>> = {
  "task.completed": "completed",
  "task.failed": "failed",
  "task.retrying": "failed",
  "task.lost": "lost",
  "task.released": "released",
  "task.cancelled": "cancelled",
};

export function pictureOf(members: readonly Member[], attempts: readonly Attempt[]): Picture {
  const lists = new Map<string, Attempt[]>();
  for (const attempt of attempts) {
    const list = lists.get(attempt.task_id);
    if (list) list.push(attempt);
    else lists.set(attempt.task_id, [attempt]);
  }
  return {
    members: new Map(members.map((member) => [member.id, member])),
    attempts: lists,
    progress: new Map(),
  };
}

export function follow(picture: Picture, workflow: string, events: readonly Event[]): Followed {
  const none = { picture, graph: false, workflow: false, failed: new Set<string>() };
  if (!events.some((event) => event.workflow_id === workflow)) return none;
  const members = new Map(picture.members);
  const attempts = new Map(picture.attempts);
  const progress = new Map(picture.progress);
  const failed = new Set<string>();
  let [graph, moved] = [false, false];
  for (const event of events) {
    if (event.workflow_id !== workflow) continue;
    if (event.task_id === null) {
      moved = true;
      continue;
    }
    const member = members.get(event.task_id);
    graph ||= member === undefined;
    const state = event.data.state as TaskState | undefined;
    if (member && state && state !== member.state) members.set(member.id, { ...member, state });
    note(attempts, event.task_id, event);
    if (event.kind === "task.progress") progress.set(event.task_id, reported(event));
    else if (event.kind !== "task.updated") progress.delete(event.task_id);
    if (ENDS[event.kind] === "failed") failed.add(event.task_id);
  }
  return { picture: { members, attempts, progress }, graph, workflow: moved, failed };
}

/** With attempts as the server has them; what was made of events gives way. */
export function withAttempts(picture: Picture, read: readonly Attempt[]): Picture {
  const attempts = new Map(picture.attempts);
  for (const attempt of read) {
    const list = attempts.get(attempt.task_id) ?? [];
    const at = list.findIndex((one) => one.number === attempt.number);
    const after = at < 0 ? [...list, attempt] : list.with(at, attempt);
    attempts.set(
      attempt.task_id,
      after.sort((one, other) => one.number - other.number),
    );
  }
  return { ...picture, attempts };
}

/** With what running tasks have reported so far. */
export function withProgress(
  picture: Picture,
  running: readonly { id: string; progress: number; progress_message: string | null }[],
): Picture {
  const told = running.filter((task) => task.progress > 0);
  const progress = new Map(
    told.map((task) => [task.id, { percent: task.progress, message: task.progress_message }]),
  );
  return { ...picture, progress };
}

function note(attempts: Map<string, readonly Attempt[]>, task: string, event: Event): void {
  const number = Number(event.data.attempt ?? 0);
  const list = attempts.get(task) ?? [];
  const at = list.findIndex((attempt) => attempt.number === number);
  const after = noted(list[at], task, number, event);
  if (after) attempts.set(task, at < 0 ? [...list, after] : list.with(at, after));
}

/** The attempt after the event; undefined when the event says nothing of one. */
function noted(known: Attempt | undefined, task: string, number: number, event: Event): Attempt | undefined {
  if (event.kind === "task.claimed") return known ?? begun(task, number, event, null);
  if (event.kind === "task.started") {
    return known
      ? { ...known, started_at: known.started_at ?? event.at }
      : begun(task, number, event, event.at);
  }
  const state = ENDS[event.kind];
  if (!known || !state || known.ended_at !== null) return undefined;
  return { ...known, state, ended_at: event.at, error: known.error ?? errorOf(event) };
}

function begun(task: string, number: number, event: Event, started: string | null): Attempt {
  return {
    task_id: task,
    number,
    generation: Number(event.data.generation ?? 1),
    state: "running",
    agent_id: (event.data.assigned_to as string | null) ?? null,
    claimed_at: event.at,
    started_at: started,
    ended_at: null,
    lease_expires_at: null,
    error: null,
  };
}

function errorOf(event: Event): Attempt["error"] {
  return typeof event.data.error === "string" ? { type: event.data.error, message: "" } : null;
}

function reported(event: Event): Progress {
  return {
    percent: Number(event.data.progress ?? 0),
    message: (event.data.message as string | null) ?? null,
  };
}

/** How many members are in each state. */
export function counted(members: Iterable<Member>): Map<TaskState, number> {
  const counts = new Map<TaskState, number>();
  for (const { state } of members) counts.set(state, (counts.get(state) ?? 0) + 1);
  return counts;
}
