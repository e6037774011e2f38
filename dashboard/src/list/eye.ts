// Where the reader looks: when rows come or go above it, the box is scrolled so that it stays.
// It must not know what is drawn.

import { useRef } from "preact/hooks";
import type { Column } from "./tasks";
import { type Range, steady } from "./window";

/** Rows drawn beyond the edge towards which it is scrolled, so that a wheel's turn shows no gap, and behind it. */
export const AHEAD = 8;
export const BEHIND = 2;
/** What the reader looks at: when rows come or go above it, the box is scrolled so that it stays. */
export function useEye(column: Column, place: { top: number }, rowHeight: number, current: string | null) {
  const state = useRef({
    version: -1,
    first: 0,
    ids: [] as string[],
    pointed: null as string | null,
    told: 0,
    down: true,
  });
  const eye = state.current;
  return {
    top(): number {
      void column.drawing.value;
      if (column.version === eye.version) return place.top;
      eye.version = column.version;
      const pinned = [eye.pointed, current].filter((id) => id !== null && eye.ids.includes(id));
      // At the very top what is new is what the reader came for, unless they point at something.
      if (place.top === 0 && pinned.length === 0) return 0;
      for (const id of [...pinned, ...eye.ids] as string[]) {
        const after = column.reading.listing.indexOf(id);
        if (after < 0 || column.leaving.has(id)) continue;
        place.top = steady(place.top, eye.first + eye.ids.indexOf(id), after, rowHeight);
        break;
      }
      return place.top;
    },
    /** Rows to draw before and after what is seen. */
    spare(): [number, number] {
      return eye.down ? [BEHIND, AHEAD] : [AHEAD, BEHIND];
    },
    /** Whether the box must be told where it is: at first, and when rows came or went above. */
    moved(): boolean {
      const moved = eye.told !== place.top;
      eye.told = place.top;
      return moved;
    },
    scrolled(top: number): void {
      if (top !== place.top) eye.down = top > place.top;
      place.top = top;
      eye.told = top;
    },
    rest({ first, last }: Range): void {
      eye.first = first;
      eye.ids = column.rows.slice(first, last).map((row) => row.id);
    },
    point(event: PointerEvent | null): void {
      if (event?.pointerType === "touch") return;
      const element =
        event?.target instanceof Element ? event.target.closest<HTMLElement>("[data-id]") : null;
      eye.pointed = element?.dataset.id ?? null;
    },
  };
}
