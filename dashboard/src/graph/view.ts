// View: what part of the graph is seen: fitting, zooming, panning, and the way from node to node with arrow keys.
// It must not know the DOM.
import { type Box, center, type Point, type Size } from "./shape";

// The corner at the top left in the graph's own units, and pixels per unit.
export interface View extends Point {
  readonly scale: number;
}

export const MOST = 2.5;
const LEAST = 0.04;
// Below it nothing can be told apart: a graph that fits only there is shown from its beginning.
const SEEN = 0.12;

export function fitted(bounds: Box, size: Size, largest = 1): View {
  const whole = Math.min(size.width / bounds.width, size.height / bounds.height);
  const scale = clamp(whole, SEEN, largest);
  const [width, height] = [size.width / scale, size.height / scale];
  return {
    x: width >= bounds.width ? bounds.x - (width - bounds.width) / 2 : bounds.x,
    y: bounds.y - (height - bounds.height) / 2,
    scale,
  };
}

// Keeps the point under the pointer where it is. `at` is in pixels of the window.
export function zoomed(view: View, factor: number, at: Point): View {
  const scale = clamp(view.scale * factor, LEAST, MOST);
  return {
    x: view.x + at.x / view.scale - at.x / scale,
    y: view.y + at.y / view.scale - at.y / scale,
    scale,
  };
}

export function panned(view: View, pixels: Point): View {
  return { ...view, x: view.x - pixels.x / view.scale, y: view.y - pixels.y / view.scale };
}

export function window(view: View, size: Size): Box {
  return { x: view.x, y: view.y, width: size.width / view.scale, height: size.height / view.scale };
}

// Moves as little as shows the whole box, with a margin.
export function revealed(view: View, box: Box, size: Size, margin = 24): View {
  const seen = window(view, size);
  const room = margin / view.scale;
  return {
    ...view,
    x: shifted(seen.x, seen.width, box.x - room, box.width + 2 * room),
    y: shifted(seen.y, seen.height, box.y - room, box.height + 2 * room),
  };
}

function shifted(start: number, length: number, from: number, extent: number): number {
  if (from < start || extent > length) return from;
  return Math.max(start, from + extent - length);
}

// So that the graph cannot be lost: some of it stays in sight.
export function kept(view: View, bounds: Box, size: Size): View {
  const [width, height] = [size.width / view.scale, size.height / view.scale];
  return {
    ...view,
    x: clamp(view.x, bounds.x - width * 0.75, bounds.x + bounds.width - width * 0.25),
    y: clamp(view.y, bounds.y - height * 0.75, bounds.y + bounds.height - height * 0.25),
  };
}

const WAYS: Readonly<Record<string, Point>> = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};

// The next thing in the direction of an arrow key: near, and rather straight ahead than aside.
export function neighbour(boxes: ReadonlyMap<string, Box>, from: string, key: string): string | undefined {
  const [way, here] = [WAYS[key], boxes.get(from)];
  if (!way || !here) return undefined;
  const start = center(here);
  let best: { id: string; cost: number } | undefined;
  for (const [id, box] of boxes) {
    const to = center(box);
    const along = (to.x - start.x) * way.x + (to.y - start.y) * way.y;
    const aside = Math.abs((to.x - start.x) * way.y) + Math.abs((to.y - start.y) * way.x);
    if (id === from || along < 1) continue;
    const cost = along + 2 * aside;
    if (!best || cost < best.cost) best = { id, cost };
  }
  return best?.id;
}

function clamp(value: number, least: number, most: number): number {
  return Math.max(least, Math.min(most, value));
}
