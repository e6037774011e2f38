// Columns: the last hour as one stacked column for each minute, and round numbers for its height.
// It must not know the DOM.

import type { Answer } from "../api";

export type Minute = Answer<"measure_org">["minutes"][number];

export const ENDINGS = ["completed", "failed", "cancelled"] as const;
export type Ending = (typeof ENDINGS)[number];

export const MINUTES = 60;
const MINUTE = 60_000;

/** One for each minute until that of `now`, oldest first; those of which nothing is known are empty. */
export function lastHour(minutes: readonly Minute[], now: number): Minute[] {
  const known = new Map(minutes.map((minute) => [Math.floor(Date.parse(minute.at) / MINUTE), minute]));
  const last = Math.floor(now / MINUTE);
  return Array.from({ length: MINUTES }, (_, at) => {
    const number = last - MINUTES + 1 + at;
    const empty = { created: 0, completed: 0, failed: 0, cancelled: 0 };
    return known.get(number) ?? { at: new Date(number * MINUTE).toISOString(), ...empty };
  });
}

/** The least round number that is not below any of them. */
export function ceilingOf(minutes: readonly Minute[]): number {
  const most = Math.max(1, ...minutes.map((one) => Math.max(one.created, ended(one))));
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((one) => one >= most) ?? most;
}

export function ended(minute: Minute): number {
  return minute.completed + minute.failed + minute.cancelled;
}

export interface Part {
  readonly ending: Ending;
  readonly from: number;
  readonly to: number;
}

/** The parts of one column as heights above its foot. */
export function stacked(minute: Minute, ceiling: number, height: number): Part[] {
  let from = 0;
  return ENDINGS.flatMap((ending) => {
    const to = from + (minute[ending] / ceiling) * height;
    const part = { ending, from, to };
    from = to;
    return part.to > part.from ? [part] : [];
  });
}

export function totals(minutes: readonly Minute[]): Record<Ending | "created", number> {
  const sum = (name: Ending | "created") => minutes.reduce((all, minute) => all + minute[name], 0);
  return {
    created: sum("created"),
    completed: sum("completed"),
    failed: sum("failed"),
    cancelled: sum("cancelled"),
  };
}

/** The share of an axis on which each power of ten takes the same room, from a millisecond to a day. */
export function logShare(seconds: number): number {
  const [least, most] = [Math.log10(0.001), Math.log10(86_400)];
  return Math.max(0, Math.min(1, (Math.log10(Math.max(seconds, 0.001)) - least) / (most - least)));
}
