// Bars: what the timeline shows of each member: when it waited, was held, ran, and how each attempt ended.
// It must not know pixels.

import type { Attempt } from "../described";
import type { Picture } from "./follow";
import type { Member } from "./plan";

/** ready: nothing is in its way but a free worker. held: claimed, not started. again: between two attempts. */
export type BarKind = "ready" | "held" | "run" | "again";

export interface Bar {
  readonly kind: BarKind;
  readonly from: number;
  /** Null: until now. */
  readonly to: number | null;
  /** Of `held` and `run`. */
  readonly attempt?: Attempt;
}

export interface Row {
  readonly member: Member;
  readonly bars: readonly Bar[];
  /** When it was first held; null: not yet. */
  readonly began: number | null;
}

const WAITING: ReadonlySet<string> = new Set(["pending", "retrying"]);

/** Those that began, in the order in which they did; then the others as they were given. */
export function rowsOf(picture: Picture, created: number): Row[] {
  const rows = [...picture.members.values()].map((member) => rowOf(member, picture, created));
  const began = rows.filter((row) => row.began !== null);
  began.sort((one, other) => (one.began ?? 0) - (other.began ?? 0));
  return [...began, ...rows.filter((row) => row.began === null)];
}

function rowOf(member: Member, picture: Picture, created: number): Row {
  const attempts = picture.attempts.get(member.id) ?? [];
  const bars: Bar[] = [];
  let free: number | null = readyAt(member, picture, created);
  for (const [index, attempt] of attempts.entries()) {
    const claimed = Date.parse(attempt.claimed_at);
    if (free !== null && free < claimed)
      bars.push({ kind: index ? "again" : "ready", from: free, to: claimed });
    bars.push(...barsOf(attempt, claimed));
    free = instant(attempt.ended_at);
  }
  if (free !== null && WAITING.has(member.state)) {
    bars.push({ kind: attempts.length ? "again" : "ready", from: free, to: null });
  }
  return { member, bars, began: attempts[0] ? Date.parse(attempts[0].claimed_at) : null };
}

function barsOf(attempt: Attempt, claimed: number): Bar[] {
  const [started, ended] = [instant(attempt.started_at), instant(attempt.ended_at)];
  if (started === null) return [{ kind: "held", from: claimed, to: ended, attempt }];
  const run: Bar = { kind: "run", from: started, to: ended, attempt };
  return started > claimed ? [{ kind: "held", from: claimed, to: started, attempt }, run] : [run];
}

/** When the last of what it depends on ended, as far as that is in the picture; null while something has not. */
function readyAt(member: Member, picture: Picture, created: number): number | null {
  let at = created;
  for (const parent of member.depends_on) {
    if (!picture.members.has(parent)) continue;
    const ended = instant(picture.attempts.get(parent)?.at(-1)?.ended_at ?? null);
    if (ended === null) return null;
    at = Math.max(at, ended);
  }
  return at;
}

function instant(at: string | null): number | null {
  return at === null ? null : Date.parse(at);
}

/** From the first to the last moment that is shown; `now` only while something goes on. */
export function extent(rows: readonly Row[], created: number, now: number): { from: number; to: number } {
  let to = created;
  for (const { bars } of rows) for (const bar of bars) to = Math.max(to, bar.to ?? now);
  return { from: created, to: Math.max(to, created + 1000) };
}
