// Allowed: which actions make sense for somebody on a task as it stands.
// It must not know how they are offered. The server decides; this only spares people what it would refuse.

import type { Task } from "../described";
import { isMe, isMineToTake, may } from "../session";
import { ENDED } from "../states";

const HELD: ReadonlySet<string> = new Set(["claimed", "running"]);

export const isHeld = (task: Task) => HELD.has(task.state);
export const isEnded = (task: Task) => ENDED.has(task.state);
export const isManual = (task: Task) => task.mode === "manual";
export const isHeldByMe = (task: Task) => isManual(task) && isHeld(task) && isMe(task.assigned_to);

export interface Allowed {
  claim: boolean;
  /** Progress, complete, fail, release: what only the holder does. */
  work: boolean;
  reassign: boolean;
  cancel: boolean;
  retry: boolean;
}

/** What is asked before it is done. */
export type Asked = "release" | "progress" | "fail" | "reassign" | "cancel";

/** Whether it still makes sense to ask. */
export const isPossible = (asked: Asked, can: Allowed): boolean =>
  asked === "reassign" || asked === "cancel" ? can[asked] : can.work;

/** Read in a component, it follows who is signed in. */
export function allowed(task: Task): Allowed {
  const agent = may("agent");
  return {
    claim: agent && isManual(task) && task.state === "pending" && isMineToTake(task.assigned_to),
    work: agent && isHeldByMe(task),
    reassign:
      agent && isManual(task) && !isEnded(task) && (may("operator") || isMineToTake(task.assigned_to)),
    cancel: agent && !isEnded(task),
    retry: agent && (task.state === "failed" || task.state === "cancelled"),
  };
}
