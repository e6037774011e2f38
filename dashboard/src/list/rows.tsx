// The rows of one column in a box that scrolls: only what is seen is drawn, and what is read stays where the eye is.
// It must not know what a row looks like. Roles are given, not elements: a table would lay its rows out itself.

import { useSignal } from "@preact/signals";
import type { ComponentChildren, ComponentType } from "preact";
import { useCallback, useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Row } from "./row";
import type { Column } from "./tasks";
import { type Range, revealed, seen, steady, type View } from "./window";

/** Rows drawn beyond the edge towards which it is scrolled, so that a wheel's turn shows no gap, and behind it. */
const AHEAD = 8;
const BEHIND = 2;
/** Milliseconds without scrolling after which the elements are put in the order of what they show. */
const REST = 150;

export interface ItemProps {
  row: Row;
  index: number;
  /** Pixels from the start. */
  top: number;
  current: boolean;
  selected: boolean;
  leaving: boolean;
  changed: boolean;
}

interface RowsProps {
  column: Column;
  /** How many there are as far as it is known, loaded or not. */
  total: number;
  rowHeight: number;
  label: string;
  /** A table with a head and cells, or a plain list. */
  kind: "grid" | "list";
  head?: ComponentChildren;
  current: string | null;
  isSelected?: (id: string) => boolean;
  Item: ComponentType<ItemProps>;
  /** Where it was scrolled to when it was left. */
  place: { top: number };
}

export const elementId = (id: string) => `row-${id}`;

export function Rows(props: RowsProps) {
  const { column, rowHeight, kind, head, current, Item, place } = props;
  const box = useRef<HTMLDivElement>(null);
  const height = useSignal(0);
  const scrolled = useSignal(0);
  const resting = useSignal(true);
  const rest = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const eye = useEye(column, place, rowHeight, current);
  void scrolled.value;
  const { rows } = column;
  const count = column.reading.listing.ended ? rows.length : Math.max(rows.length, props.total);
  const view = { top: eye.top(), height: height.value, rowHeight, count };
  const drawn = seen(view, ...eye.spare());

  const look = useCallback(() => {
    const element = box.current;
    if (!element) return;
    eye.scrolled(element.scrollTop);
    const now = { ...view, top: element.scrollTop, height: height.peek() };
    if (!isSame(seen(now, ...eye.spare()), drawn)) {
      resting.value = false;
      scrolled.value++;
    }
    clearTimeout(rest.current);
    rest.current = setTimeout(() => {
      resting.value = true;
    }, REST);
    column.see(wanted(now));
    eye.rest(seen(now));
  }, [view, drawn]);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element || height.value === 0) return;
    // Asking the browser for the place would make it lay out at once: only when the place was moved here.
    if (eye.moved()) element.scrollTop = place.top;
    const now = { ...view, top: place.top };
    column.see(wanted(now));
    eye.rest(seen(now));
  });
  useLayoutEffect(() => measured(box, height), []);
  useEffect(() => () => clearTimeout(rest.current), []);
  useEffect(() => {
    const element = box.current;
    const index = current === null ? -1 : column.reading.listing.indexOf(current);
    if (element && index >= 0) element.scrollTop = revealed(index, { ...view, top: element.scrollTop });
  }, [current]);

  // While it is scrolled an element that goes out of sight comes back at the other end with another row: making and
  // moving elements is what costs. At rest they are put in order, for those who hear the list instead of seeing it.
  const slots = Math.ceil(height.value / rowHeight) + AHEAD + BEHIND + 1;
  const indexes = resting.value
    ? range(drawn)
    : range(drawn).sort((one, other) => (one % slots) - (other % slots));
  const drawnHere = current !== null && rows.slice(drawn.first, drawn.last).some((row) => row.id === current);
  return (
    <div
      ref={box}
      class={`rows rows-${kind}`}
      role={kind}
      aria-label={props.label}
      aria-rowcount={kind === "grid" ? count + 1 : undefined}
      aria-multiselectable={kind === "grid" ? true : undefined}
      aria-activedescendant={kind === "grid" && drawnHere ? elementId(current) : undefined}
      tabIndex={0}
      onScroll={look}
      onPointerOver={(event) => eye.point(event)}
      onPointerLeave={() => eye.point(null)}
    >
      {head}
      <div
        class="rows-all"
        role={kind === "grid" ? "rowgroup" : "presentation"}
        style={{ height: `${count * rowHeight}px` }}
      >
        {indexes.map((index) => {
          const row = rows[index];
          const top = index * rowHeight;
          if (!row) return <Bone key={`bone-${index % slots}`} top={top} />;
          return (
            <Item
              key={index % slots}
              row={row}
              index={index}
              top={top}
              current={row.id === current}
              selected={props.isSelected?.(row.id) ?? false}
              leaving={column.leaving.has(row.id)}
              changed={column.isNew(row.id)}
            />
          );
        })}
      </div>
    </div>
  );
}

/** A row that is on its way. */
function Bone({ top }: { top: number }) {
  return (
    <div class="row bone-row" aria-hidden="true" style={{ transform: `translateY(${top}px)` }}>
      <span class="bone" />
    </div>
  );
}

/** What the reader looks at: when rows come or go above it, the box is scrolled so that it stays. */
function useEye(column: Column, place: { top: number }, rowHeight: number, current: string | null) {
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

function measured(
  box: { current: HTMLDivElement | null },
  height: { value: number },
): (() => void) | undefined {
  const element = box.current;
  if (!element) return;
  const measure = () => {
    const head = element.querySelector<HTMLElement>(".rows-head");
    height.value = element.clientHeight - (head?.offsetHeight ?? 0);
  };
  measure();
  const observer = new ResizeObserver(measure);
  observer.observe(element);
  return () => observer.disconnect();
}

/** What would be seen if the list were long enough: how long it is may not be known yet. */
function wanted(view: View): Range {
  return seen({ ...view, count: Number.POSITIVE_INFINITY });
}

function range({ first, last }: Range): number[] {
  return Array.from({ length: Math.max(0, last - first) }, (_, offset) => first + offset);
}

function isSame(one: Range, other: Range): boolean {
  return one.first === other.first && one.last === other.last;
}
