// State: how the state of a task or workflow looks: one colour, one mark, one word each.
// It must not know which moves are legal.

import type { TaskState, WorkflowState } from "../described";

export type AnyState = TaskState | WorkflowState;

/** What is inside the circle, 16 × 16. */
export const MARKS: Readonly<Record<AnyState, string>> = {
  blocked: "M5.5 7.25h5v3.75h-5zM6.5 7.25V6a1.5 1.5 0 0 1 3 0v1.25",
  scheduled: "M8 5v3.25l2 1.25",
  pending: "",
  claimed: "M8 7.4a1.4 1.4 0 1 0 0-2.8 1.4 1.4 0 0 0 0 2.8zM5.4 10.9c.3-1.4 1.2-2 2.6-2s2.3.6 2.6 2",
  running: "M7 5.6v4.8L10.6 8z",
  waiting: "M5.6 8h.1M8 8h.1M10.4 8h.1",
  paused: "M6.75 6v4M9.25 6v4",
  retrying: "M10.4 6.2v1.6H8.8M10.3 7.6A2.5 2.5 0 1 0 10.3 9",
  completed: "M5.4 8.2 7.2 10l3.4-3.8",
  failed: "M6.2 6.2l3.6 3.6M9.8 6.2 6.2 9.8",
  cancelled: "M6 10l4-4",
};

/** The mark alone; whoever shows it says the state in words too. */
export function StateMark({ state, size = 16 }: { state: AnyState; size?: number }) {
  return (
    <svg
      class={`mark state-${state}`}
      width={size}
      height={size}
      viewBox="0 0 16 16"
      aria-hidden="true"
      focusable="false"
    >
      <circle cx="8" cy="8" r="6.25" />
      <path d={MARKS[state]} />
    </svg>
  );
}

/** Mark and word. */
export function StateBadge({ state }: { state: AnyState }) {
  return (
    <span class={`badge state-${state}`}>
      <StateMark state={state} size={14} />
      {state}
    </span>
  );
}
