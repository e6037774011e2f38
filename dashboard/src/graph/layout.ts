// Layout: where everything of a plan stands: careful for the graphs that people read, quick for those they fly over.
// It must not know the DOM: it runs in a worker.
import { layout as careful, Graph } from "@dagrejs/dagre";
import { layered, type Sized } from "./layered";
import type { Edge, Plan } from "./plan";
import { around, type Box, type Direction, type Point, type Size, SLIM_ABOVE, sizeOf } from "./shape";

export interface Route extends Edge {
  // From the border of one node to that of the other.
  readonly points: readonly Point[];
}

export interface Layout {
  readonly direction: Direction;
  readonly slim: boolean;
  readonly boxes: ReadonlyMap<string, Box>;
  readonly routes: readonly Route[];
  readonly bounds: Box;
}

// Network simplex and the counting of crossings are worse than quadratic: seconds begin about here.
const CAREFUL = { nodes: 100, edges: 220 };
const MARGIN = 24;
/** Pixels of a frame in which nothing stands side by side. */
const NARROW = 640;
/** The scale from which letters can be read, and how much larger those of the other direction must be. */
const READABLE = 0.72;
const BETTER = 1.15;
const SPACING = { lr: { between: 18, ranks: 48 }, tb: { between: 16, ranks: 40 } };

interface Placement {
  readonly centers: ReadonlyMap<string, Point>;
  readonly routes: ReadonlyArray<Edge & { readonly through: readonly Point[] }>;
}

/** From left to right as long as that can be read; a long and narrow graph is larger downwards, and always on a phone. */
export function layoutFor(plan: Plan, frame: Size): Layout {
  if (frame.width < NARROW) return layout(plan, "tb");
  const across = layout(plan, "lr");
  if (scaleIn(frame, across) >= READABLE || plan.items.length > SLIM_ABOVE) return across;
  const down = layout(plan, "tb");
  return scaleIn(frame, down) > scaleIn(frame, across) * BETTER ? down : across;
}

function scaleIn(frame: Size, { bounds }: Layout): number {
  return Math.min(1, frame.width / bounds.width, frame.height / bounds.height);
}

export function layout({ items, edges }: Plan, direction: Direction): Layout {
  const slim = items.length > SLIM_ABOVE;
  const sized = items.map((item) => ({ id: item.id, ...sizeOf(item, direction, slim) }));
  const readable = items.length <= CAREFUL.nodes && edges.length <= CAREFUL.edges;
  const { centers, routes } = (readable ? carefully : quickly)(sized, edges, direction);
  const boxes = new Map<string, Box>();
  for (const { id, width, height } of sized) {
    const { x, y } = centers.get(id) ?? { x: 0, y: 0 };
    boxes.set(id, { x: x - width / 2, y: y - height / 2, width, height });
  }
  const drawn = routes.map(({ from, to, through }) => ({
    from,
    to,
    points: ended(boxes, from, to, through, direction),
  }));
  const bounds = around(
    boxes.values(),
    drawn.flatMap((route) => route.points),
    MARGIN,
  );
  return { direction, slim, boxes, routes: drawn, bounds };
}

function carefully(nodes: readonly Sized[], edges: readonly Edge[], direction: Direction): Placement {
  const graph = new Graph();
  const { between, ranks } = SPACING[direction];
  graph.setGraph({
    rankdir: direction === "lr" ? "LR" : "TB",
    nodesep: between,
    ranksep: ranks,
    edgesep: 12,
  });
  for (const { id, width, height } of nodes) graph.setNode(id, { width, height });
  for (const { from, to } of edges) graph.setEdge(from, to, {});
  careful(graph);
  const centers = new Map(nodes.map(({ id }) => [id, graph.node(id) as Point]));
  const routes = edges.map(({ from, to }) => {
    const points = (graph.edge(from, to).points ?? []) as Point[];
    // The first and last are on the borders; three are an edge to the next rank, whose middle only makes it wavy.
    return { from, to, through: points.length <= 3 ? [] : points.slice(1, -1).map(({ x, y }) => ({ x, y })) };
  });
  return { centers, routes };
}

function quickly(nodes: readonly Sized[], edges: readonly Edge[], direction: Direction): Placement {
  const { between, ranks } = SPACING[direction];
  const spacing = { between: between / 2, ranks };
  if (direction === "lr") return layered(nodes, edges, spacing);
  const turned = layered(
    nodes.map(({ id, width, height }) => ({ id, width: height, height: width })),
    edges,
    spacing,
  );
  return {
    centers: new Map([...turned.centers].map(([id, point]) => [id, flipped(point)])),
    routes: turned.routes.map((route) => ({ ...route, through: route.through.map(flipped) })),
  };
}

function flipped({ x, y }: Point): Point {
  return { x: y, y: x };
}

function ended(
  boxes: ReadonlyMap<string, Box>,
  from: string,
  to: string,
  through: readonly Point[],
  direction: Direction,
): Point[] {
  const [source, target] = [boxes.get(from), boxes.get(to)];
  if (!source || !target) return [...through];
  if (direction === "lr") {
    const start = { x: source.x + source.width, y: source.y + source.height / 2 };
    return [start, ...through, { x: target.x, y: target.y + target.height / 2 }];
  }
  const start = { x: source.x + source.width / 2, y: source.y + source.height };
  return [start, ...through, { x: target.x + target.width / 2, y: target.y }];
}
