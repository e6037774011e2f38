// Camera: what part of the graph is seen, moved by pointer, wheel, fingers and buttons.
// It must not know what is drawn.

import type { RefObject } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { useWidth } from "../measured";
import type { Box, Point, Size } from "./shape";
import { fitted, kept, panned, revealed, type View, zoomed } from "./view";

export interface Camera {
  readonly view: View;
  readonly size: Size;
  readonly zoom: (factor: number) => void;
  readonly pan: (pixels: Point) => void;
  /** The whole graph again, and whatever comes to it. */
  readonly reset: () => void;
  readonly reveal: (box: Box) => void;
}

const LEAST = 200;
/** Of the window's height: the page goes on below. */
const SHARE = 0.68;

/** Pixels that a graph may be high. */
export const highest = () => Math.round(innerHeight * SHARE);

/** `frame`: what `element` is to fill. */
export function useCamera(
  element: RefObject<SVGSVGElement | null>,
  frame: RefObject<Element | null>,
  bounds: Box,
): Camera {
  const width = useWidth(frame);
  const size = { width, height: heightFor(bounds, width) };
  // Null: nobody has moved it, so it shows the whole graph, also when that grows.
  const [moved, setMoved] = useState<View | null>(null);
  const latest = useRef({ view: fitted(bounds, size), bounds, size });
  const view = moved ?? fitted(bounds, size);
  latest.current = { view, bounds, size };
  const move = useCallback((change: (view: View, size: Size) => View) => {
    const { view, bounds, size } = latest.current;
    setMoved(kept(change(view, size), bounds, size));
  }, []);
  usePointers(element, move);
  useWheel(element, move);
  return {
    view,
    size,
    zoom: (factor) => move((old, { width, height }) => zoomed(old, factor, { x: width / 2, y: height / 2 })),
    pan: (pixels) => move((old) => panned(old, pixels)),
    reset: () => setMoved(null),
    reveal: (box) => {
      const { view, size } = latest.current;
      const next = revealed(view, box, size);
      if (next.x !== view.x || next.y !== view.y) setMoved(next);
    },
  };
}

/** As high as the graph is at its own size, within reason. */
function heightFor(bounds: Box, width: number): number {
  const natural = bounds.height * Math.min(1, width / Math.max(1, bounds.width));
  return Math.round(Math.max(LEAST, Math.min(natural, highest())));
}

type Move = (change: (view: View, size: Size) => View) => void;

const SLACK = 4;
/** Pixels that a finger or mouse may slip in a click. */

/** One pointer drags, two pinch. A drag that ends on a node does not follow its link. */
function usePointers(element: RefObject<SVGSVGElement | null>, move: Move): void {
  useEffect(() => {
    const svg = element.current;
    if (!svg) return;
    const down = new Map<number, Point>();
    let dragged = 0;
    const place = (event: PointerEvent): Point => {
      const frame = svg.getBoundingClientRect();
      return { x: event.clientX - frame.left, y: event.clientY - frame.top };
    };
    const press = (event: PointerEvent) => {
      if (event.button !== 0) return;
      if (down.size === 0) dragged = 0;
      down.set(event.pointerId, place(event));
    };
    const drag = (event: PointerEvent) => {
      const before = down.get(event.pointerId);
      if (!before) return;
      const at = place(event);
      const shift = { x: at.x - before.x, y: at.y - before.y };
      if (dragged < SLACK) {
        dragged += Math.hypot(shift.x, shift.y);
        if (dragged >= SLACK) svg.setPointerCapture(event.pointerId);
      } else {
        const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
        move((view) =>
          other
            ? zoomed(view, distance(at, other) / distance(before, other), middle(at, other))
            : panned(view, shift),
        );
      }
      down.set(event.pointerId, at);
    };
    const lift = (event: PointerEvent) => down.delete(event.pointerId);
    const click = (event: MouseEvent) => {
      if (dragged < SLACK) return;
      dragged = 0;
      event.preventDefault();
      event.stopPropagation();
    };
    const still = (event: Event) => event.preventDefault();
    const ended = new AbortController();
    const { signal } = ended;
    svg.addEventListener("pointerdown", press, { signal });
    svg.addEventListener("pointermove", drag, { signal });
    svg.addEventListener("pointerup", lift, { signal });
    svg.addEventListener("pointercancel", lift, { signal });
    svg.addEventListener("click", click, { signal, capture: true });
    svg.addEventListener("dragstart", still, { signal });
    return () => ended.abort();
  }, [element, move]);
}

/** With Ctrl or Cmd, and as touchpads pinch, the wheel zooms; sideways it pans; else the page scrolls as ever. */
function useWheel(element: RefObject<SVGSVGElement | null>, move: Move): void {
  useEffect(() => {
    const svg = element.current;
    if (!svg) return;
    const turn = (event: WheelEvent) => {
      const frame = svg.getBoundingClientRect();
      const at = { x: event.clientX - frame.left, y: event.clientY - frame.top };
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (event.ctrlKey || event.metaKey) move((view) => zoomed(view, Math.exp(-event.deltaY / 250), at));
      else if (sideways) move((view) => panned(view, { x: -event.deltaX, y: 0 }));
      else return;
      event.preventDefault();
    };
    svg.addEventListener("wheel", turn, { passive: false });
    return () => svg.removeEventListener("wheel", turn);
  }, [element, move]);
}

function distance(one: Point, other: Point): number {
  return Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
}

function middle(one: Point, other: Point): Point {
  return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
}
