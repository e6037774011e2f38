// The rows of one column in a box that scrolls: only what is seen is drawn, and what is read stays where the eye is.
// It must not know what a row looks like. Roles are given, not elements: a table would lay its rows out itself.

import { useSignal } from "@preact/signals";
import type { ComponentChildren, ComponentType } from "preact";
import { useCallback, useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { AHEAD, BEHIND, useEye } from "./eye";
import type { Row } from "./row";
import type { Column } from "./tasks";
import { type Range, revealed, seen, type View } from "./window";

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
  const { column, rowHeight, kind, current } = props;
  const { rows } = column;
  const count = column.reading.listing.ended ? rows.length : Math.max(rows.length, props.total);
  const { box, drawn, slots, resting, look, point } = useScrolling(props, count);
  const drawnHere = current !== null && rows.slice(drawn.first, drawn.last).some((row) => row.id === current);
  const isGrid = kind === "grid";
  return (
    <div
      ref={box}
      class={`rows rows-${kind}`}
      role={kind}
      aria-label={props.label}
      aria-rowcount={isGrid ? count + 1 : undefined}
      aria-multiselectable={isGrid ? true : undefined}
      aria-activedescendant={isGrid && drawnHere ? elementId(current) : undefined}
      tabIndex={0}
      onScroll={look}
      onPointerOver={point}
      onPointerLeave={() => point(null)}
    >
      {props.head}
      <div
        class="rows-all"
        role={isGrid ? "rowgroup" : "presentation"}
        style={{ height: `${count * rowHeight}px` }}
      >
        {inOrder(range(drawn), slots, resting).map((index) => drawnRow(props, index, index % slots))}
      </div>
    </div>
  );
}

function drawnRow({ column, rowHeight, current, isSelected, Item }: RowsProps, index: number, slot: number) {
  const row = column.rows[index];
  const top = index * rowHeight;
  if (!row) return <Bone key={`bone-${slot}`} top={top} />;
  return (
    <Item
      key={slot}
      row={row}
      index={index}
      top={top}
      current={row.id === current}
      selected={isSelected?.(row.id) ?? false}
      leaving={column.leaving.has(row.id)}
      changed={column.isNew(row.id)}
    />
  );
}

/** While it is scrolled an element that goes out of sight comes back at the other end with another row: making and
 * moving elements is what costs. At rest they are put in order, for those who hear the list instead of seeing it. */
function inOrder(indexes: number[], slots: number, resting: boolean): number[] {
  return resting ? indexes : indexes.sort((one, other) => (one % slots) - (other % slots));
}

/** Follows where the box is scrolled to: what is to be drawn, and what is to be read. */
function useScrolling({ column, rowHeight, current, place }: RowsProps, count: number) {
  const box = useRef<HTMLDivElement>(null);
  const height = useSignal(0);
  const scrolled = useSignal(0);
  const resting = useSignal(true);
  const rest = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const eye = useEye(column, place, rowHeight, current);
  void scrolled.value;
  const view = { top: eye.top(), height: height.value, rowHeight, count };
  const drawn = seen(view, ...eye.spare());
  const rests = (now: View) => {
    column.see(wanted(now));
    eye.rest(seen(now));
  };

  const look = useCallback(() => {
    const element = box.current;
    if (!element) return;
    eye.scrolled(element.scrollTop);
    const now = { ...view, top: place.top, height: height.peek() };
    if (!isSame(seen(now, ...eye.spare()), drawn)) {
      resting.value = false;
      scrolled.value++;
    }
    clearTimeout(rest.current);
    rest.current = setTimeout(() => {
      resting.value = true;
    }, REST);
    rests(now);
  }, [view, drawn]);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element || height.value === 0) return;
    // Asking the browser for the place would make it lay out at once: only when the place was moved here.
    if (eye.moved()) element.scrollTop = place.top;
    rests({ ...view, top: place.top });
  });
  useLayoutEffect(() => measured(box, height), []);
  useEffect(() => () => clearTimeout(rest.current), []);
  useEffect(() => {
    const element = box.current;
    const index = current === null ? -1 : column.reading.listing.indexOf(current);
    if (element && index >= 0) element.scrollTop = revealed(index, { ...view, top: element.scrollTop });
  }, [current]);
  const slots = Math.ceil(height.value / rowHeight) + AHEAD + BEHIND + 1;
  return { box, drawn, slots, resting: resting.value, look, point: eye.point };
}

/** A row that is on its way. */
function Bone({ top }: { top: number }) {
  return (
    <div class="row bone-row" aria-hidden="true" style={{ transform: `translateY(${top}px)` }}>
      <span class="bone" />
    </div>
  );
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
