// Cancelling or retrying many tasks: which ones are meant, how many that would change, and doing it in steps.
// It must not know how it is asked and told.

import type { TaskState } from "../described";
import { ENDED, TASK_STATES } from "../states";
import { asked, type Filter, NOTHING } from "./filter";
import type { Selection } from "./selection";

export type Verb = "cancel" | "retry";

/** States from which the verb leads somewhere. */
const FROM: Readonly<Record<Verb, readonly TaskState[]>> = {
  cancel: TASK_STATES.filter((state) => !ENDED.has(state)),
  retry: ["failed", "cancelled"],
};
/** Tasks that one call names, and changes: a server that is asked for more at once keeps others waiting. */
const NAMED = 100;
const STEP = 500;

export type Criteria = Partial<Filter> & { ids?: string[] };

export interface Answer {
  matched: number;
  changed: number;
  more: boolean;
  next_cursor?: string | null;
}

interface Given {
  dry_run: boolean;
  limit: number;
  cursor?: string | null;
}

export type Ask = (criteria: Criteria, given: Given) => Promise<Answer>;

export interface Outcome {
  changed: number;
  /** Those that refused, or had moved meanwhile. */
  unchanged: number;
}

/** What is selected as the server is asked for it: by name, or all that the filter finds. */
export function criteriaOf(verb: Verb, selection: Selection, filter: Filter): Criteria[] {
  if (!selection.all) {
    const ids = [...selection.ids];
    const parts = Array.from({ length: Math.ceil(ids.length / NAMED) }, (_, part) => part * NAMED);
    return parts.map((start) => ({ ids: ids.slice(start, start + NAMED), state: [...FROM[verb]] }));
  }
  const state = FROM[verb].filter((each) => filter.state.length === 0 || filter.state.includes(each));
  return state.length ? [asked({ ...NOTHING, ...filter, state })] : [];
}

/** How many tasks would change; `more`: at least so many. */
export async function foreseen(
  criteria: readonly Criteria[],
  ask: Ask,
): Promise<{ count: number; more: boolean }> {
  let count = 0;
  let more = false;
  for (const each of criteria) {
    const answer = await ask(each, { dry_run: true, limit: 1000 });
    count += answer.matched;
    more ||= answer.more;
  }
  return { count, more };
}

/** Changes them step by step. `done` hears how far it is, and ends it by answering false. */
export async function carriedOut(
  criteria: readonly Criteria[],
  ask: Ask,
  done: (outcome: Outcome) => boolean,
): Promise<Outcome> {
  let outcome: Outcome = { changed: 0, unchanged: 0 };
  for (const each of criteria) {
    let cursor: string | null = null;
    do {
      const answer: Answer = await ask(each, { dry_run: false, limit: STEP, cursor });
      outcome = {
        changed: outcome.changed + answer.changed,
        unchanged: outcome.unchanged + answer.matched - answer.changed,
      };
      cursor = answer.next_cursor ?? null;
      if (!done(outcome)) return outcome;
    } while (cursor !== null);
  }
  return outcome;
}
