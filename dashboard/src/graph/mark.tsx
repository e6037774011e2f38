// Mark: the mark of a state inside another drawing, at a place of it.
// It must not know what the state is of.

import { type AnyState, MARKS } from "../parts/state";

const SIZE = 16;

export function Mark({ state, x, y, size = SIZE }: { state: AnyState; x: number; y: number; size?: number }) {
  return (
    <g class={`mark state-${state}`} transform={`translate(${x} ${y}) scale(${size / SIZE})`}>
      <circle cx="8" cy="8" r="6.25" />
      <path d={MARKS[state]} />
    </g>
  );
}
