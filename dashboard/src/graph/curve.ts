// Curve: the path of an edge: smooth, and never outside the points it is given. It must not know nodes.
import type { Direction, Point } from "./shape";

export function curve(points: readonly Point[], direction: Direction): string {
  const [first, ...rest] = points;
  if (!first) return "";
  let path = `M${at(first)}`;
  let before = first;
  for (const point of rest) {
    path += step(before, point, direction);
    before = point;
  }
  return path;
}

// Leaves and arrives along the ranks, so that pieces meet without a kink.
function step(from: Point, to: Point, direction: Direction): string {
  if (direction === "lr") {
    const middle = (from.x + to.x) / 2;
    return `C${at({ x: middle, y: from.y })} ${at({ x: middle, y: to.y })} ${at(to)}`;
  }
  const middle = (from.y + to.y) / 2;
  return `C${at({ x: from.x, y: middle })} ${at({ x: to.x, y: middle })} ${at(to)}`;
}

function at({ x, y }: Point): string {
  return `${Math.round(x * 10) / 10} ${Math.round(y * 10) / 10}`;
}
