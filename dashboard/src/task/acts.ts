// Acts: what somebody does to a task, told to the server, with words for what came of it.
// It must not know how the acts are offered.

import { call, Refused } from "../api";
import type { Task } from "../described";
import { attempt, tell, tellError } from "../parts/toasts";
import { heard } from "../waiting";

type Put = (task: Task) => void;

/** Does `act`, shows the task as it then is, and says so. Whether it went well. */
function done(act: () => Promise<Task>, put: Put, said: string): Promise<boolean> {
  return attempt(async () => {
    const task = await act();
    put(task);
    heard(task);
  }, said);
}

const of = (task: Task) => ({ task_id: task.id });

/** For people: it is held until they give it back, however long they think. */
export async function claim(task: Task, put: Put): Promise<boolean> {
  try {
    const claimed = await call("claim_task", { path: of(task), body: { lease: null } });
    put(claimed.task);
    heard(claimed.task);
    return true;
  } catch (error) {
    const holder = error instanceof Refused && error.code === "already_claimed" && error.facts.assigned_to;
    if (holder) tell(`${holder} has it already.`, { bad: true });
    else tellError(error);
    heard(task);
    return false;
  }
}

export const release = (task: Task, put: Put) =>
  done(() => call("release_task", { path: of(task), body: {} }), put, "Released: others may take it now");

export const progress = (task: Task, put: Put, percent: number, message: string) =>
  done(
    () => call("progress_task", { path: of(task), body: { percent, message: message.trim() || null } }),
    put,
    "Progress reported",
  );

export const fail = (task: Task, put: Put, reason: string, retryable: boolean) =>
  done(
    () => call("fail_task", { path: of(task), body: { error: reason.trim(), retryable } }),
    put,
    "Failed, with your reason",
  );

/** Null: anybody. */
export const reassign = (task: Task, put: Put, to: string | null) =>
  done(
    () => call("update_task", { path: of(task), body: { assigned_to: to } }),
    put,
    to === null ? "Anybody may take it now" : "Reassigned",
  );

export const cancel = (task: Task, put: Put, reason: string) =>
  done(
    () => call("cancel_task", { path: of(task), body: { reason: reason.trim() || null } }),
    put,
    "Cancelled",
  );

export const retry = (task: Task, put: Put) =>
  done(() => call("retry_task", { path: of(task), body: {} }), put, "Opened again");

/** Raises Refused with what does not fit. */
export async function complete(task: Task, put: Put, output: unknown): Promise<void> {
  const completed = await call("complete_task", { path: of(task), body: { output } });
  put(completed);
  heard(completed);
  tell("Completed");
}

export const comment = (task: Task, text: string) =>
  attempt(() => call("comment_task", { path: of(task), body: { text: text.trim() } }));
