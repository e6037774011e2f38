// Statebar: how many tasks are in each state, as one bar whose parts are as long as their share.
// It must not know whose tasks they are.

import type { TaskState } from "../described";
import { StateMark } from "../parts/state";
import { countsInWords, ordered } from "./words";

/** From what ended well to what has not begun: the bar fills from its start. */
const ALONG: readonly TaskState[] = [
  "completed",
  "failed",
  "cancelled",
  "running",
  "claimed",
  "waiting",
  "paused",
  "retrying",
  "pending",
  "scheduled",
  "blocked",
];

export interface Share {
  readonly state: TaskState;
  readonly from: number;
  readonly length: number;
}

/** The parts of a bar of `length`; what exists is never too short to be seen. */
export function shares(counts: ReadonlyMap<TaskState, number>, length: number, least = 3): Share[] {
  const states = ALONG.filter((state) => counts.get(state));
  const total = states.reduce((sum, state) => sum + (counts.get(state) ?? 0), 0);
  const free = length - least * states.length;
  let from = 0;
  return states.map((state) => {
    const part = least + (free * (counts.get(state) ?? 0)) / total;
    const share = { state, from, length: part };
    from += part;
    return share;
  });
}

/** Inside another drawing. */
export function BarParts({
  counts,
  width,
  height,
}: {
  counts: ReadonlyMap<TaskState, number>;
  width: number;
  height: number;
}) {
  return (
    <g class="statebar-parts">
      {shares(counts, width).map(({ state, from, length }) => (
        <rect
          key={state}
          class={`share state-${state}`}
          x={from}
          width={Math.max(0, length - 1)}
          height={height}
          rx={1.5}
        />
      ))}
    </g>
  );
}

const WIDTH = 1000;

export function StateBar({ counts }: { counts: ReadonlyMap<TaskState, number> }) {
  return (
    <svg
      class="statebar"
      viewBox={`0 0 ${WIDTH} 8`}
      preserveAspectRatio="none"
      role="img"
      aria-label={countsInWords(counts) || "no tasks"}
    >
      {shares(counts, WIDTH, 12).map(({ state, from, length }) => (
        <rect
          key={state}
          class={`share state-${state}`}
          x={from}
          width={Math.max(0, length - 3)}
          height={8}
        />
      ))}
    </svg>
  );
}

/** What the colours mean, with the numbers. */
export function StateLegend({ counts }: { counts: ReadonlyMap<TaskState, number> }) {
  return (
    <ul class="legend">
      {ordered(counts).map(([state, count]) => (
        <li key={state} class={`state-${state}`}>
          <StateMark state={state} size={14} />
          <span class="number">{count.toLocaleString()}</span> {state}
        </li>
      ))}
    </ul>
  );
}
