// States: those of tasks in the order of a task's life, those that are ends, and those that are rarely met.
// It must not know how they look, nor which moves are legal.

import type { TaskState } from "./described";

export const TASK_STATES: readonly TaskState[] = [
  "blocked",
  "scheduled",
  "pending",
  "claimed",
  "running",
  "waiting",
  "paused",
  "retrying",
  "completed",
  "failed",
  "cancelled",
];

export const ENDED: ReadonlySet<string> = new Set(["completed", "failed", "cancelled"]);

/** No operation leads here yet: they are offered when something is there after all. */
export const RARE: readonly TaskState[] = ["waiting", "paused"];
