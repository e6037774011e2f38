// Shape: points, boxes and how large each thing of the graph is. It must not know where things stand.
import type { Item } from "./plan";

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

// x and y are the corner at the top left.
export interface Box extends Point, Size {}

// lr: time runs from left to right. tb: downwards, for a narrow screen.
export type Direction = "lr" | "tb";

export const CARD: Size = { width: 188, height: 54 };
// A graph of very many nodes says only their titles.
export const SLIM: Size = { width: 152, height: 30 };
export const SLIM_ABOVE = 60;
export const CLOSED: Size = { width: 240, height: 96 };
export const HEADER = 40;
export const PADDING = 12;
const TITLED_CELL = { width: 168, height: 36, gap: 8 };
const BARE_CELL = { width: 22, height: 22, gap: 4 };
// The form of an open group, about that of a screen.
const ASPECT = { lr: 1.7, tb: 0.62 };
const NARROW_COLUMNS = 2;

export interface Grid {
  readonly columns: number;
  readonly cell: Size;
  readonly gap: number;
}

export function grid(shape: "cards" | "cells", count: number, direction: Direction): Grid {
  const { gap, ...cell } = shape === "cards" ? TITLED_CELL : BARE_CELL;
  const ratio = (cell.height + gap) / (cell.width + gap);
  const columns = Math.max(1, Math.min(count, Math.round(Math.sqrt(count * ratio * ASPECT[direction]))));
  return {
    columns: shape === "cards" && direction === "tb" ? Math.min(columns, NARROW_COLUMNS) : columns,
    cell,
    gap,
  };
}

// Where member `index` of an open group stands inside its frame.
export function cellBox(frame: Point, { columns, cell, gap }: Grid, index: number): Box {
  return {
    x: frame.x + PADDING + (index % columns) * (cell.width + gap),
    y: frame.y + HEADER + Math.floor(index / columns) * (cell.height + gap),
    ...cell,
  };
}

export function sizeOf(item: Item, direction: Direction, slim: boolean): Size {
  switch (item.kind) {
    case "task":
      return slim ? SLIM : CARD;
    case "start":
      return { width: 18, height: 18 };
    case "join":
      return { width: 108, height: 32 };
    case "group":
      return item.shape === "closed"
        ? CLOSED
        : frameSize(grid(item.shape, item.members.length, direction), item.members.length);
  }
}

function frameSize({ columns, cell, gap }: Grid, count: number): Size {
  const rows = Math.ceil(count / columns);
  return {
    width: Math.max(CLOSED.width, 2 * PADDING + columns * (cell.width + gap) - gap),
    height: HEADER + PADDING + rows * (cell.height + gap) - gap,
  };
}

export function center(box: Box): Point {
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

export function overlaps(one: Box, other: Box): boolean {
  return (
    one.x < other.x + other.width &&
    other.x < one.x + one.width &&
    one.y < other.y + other.height &&
    other.y < one.y + one.height
  );
}

// The least box around boxes and points, with a margin: long edges leave the area of the nodes.
export function around(boxes: Iterable<Box>, points: Iterable<Point>, margin: number): Box {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  const stretch = (x: number, y: number) => {
    left = Math.min(left, x);
    top = Math.min(top, y);
    right = Math.max(right, x);
    bottom = Math.max(bottom, y);
  };
  for (const box of boxes) {
    stretch(box.x, box.y);
    stretch(box.x + box.width, box.y + box.height);
  }
  for (const point of points) stretch(point.x, point.y);
  if (left > right) return { x: 0, y: 0, width: 0, height: 0 };
  return {
    x: left - margin,
    y: top - margin,
    width: right - left + 2 * margin,
    height: bottom - top + 2 * margin,
  };
}
