// Flow: how far what moves along an edge has come, from the states at its two ends.
// It must not know how edges look.

import { ENDED } from "../states";
import type { Picture } from "./follow";
import type { Item } from "./plan";
import { membersOf } from "./words";

/** done: the way is free. flows: what it leads to is at work. broken: what it comes from ended badly. */
export type Flow = "waits" | "done" | "flows" | "broken";

export const FLOWS: readonly Flow[] = ["waits", "done", "flows", "broken"];

export interface Standing {
  readonly done: boolean;
  readonly works: boolean;
  readonly broken: boolean;
}

const WORKS: ReadonlySet<string> = new Set(["claimed", "running", "waiting", "paused"]);
const BROKEN: ReadonlySet<string> = new Set(["failed", "cancelled"]);

export function standingOf(item: Item, picture: Picture): Standing {
  if (item.kind === "start") return { done: true, works: false, broken: false };
  if (item.kind === "join") return { done: false, works: false, broken: false };
  const states = membersOf(picture, item.kind === "group" ? item.members : [item.member]).map(
    (one) => one.state,
  );
  return {
    done: states.every((state) => state === "completed"),
    works: states.some((state) => WORKS.has(state)),
    broken: states.some((state) => BROKEN.has(state)) && states.every((state) => ENDED.has(state)),
  };
}

export function flowOf(from: Standing, to: Standing): Flow {
  if (to.works) return "flows";
  if (from.broken) return "broken";
  return from.done ? "done" : "waits";
}
