// Layered: a quick layered layout for large graphs, where a careful one takes minutes: its cost grows with the edges only.
// It must not know what the nodes mean.
import type { Edge } from "./plan";
import type { Point, Size } from "./shape";

export interface Sized extends Size {
  readonly id: string;
}

export interface Placed {
  readonly centers: ReadonlyMap<string, Point>;
  readonly routes: ReadonlyArray<Edge & { readonly through: readonly Point[] }>;
}

const SWEEPS = 6;
const ALIGNMENTS = 8;
const LANE = 6;
// Beyond so many bends long edges run straight: they would be most of the work.
const MOST_BENDS = 20_000;

interface Spot {
  readonly rank: number;
  readonly breadth: number;
  readonly before: Spot[];
  readonly after: Spot[];
  order: number;
  at: number;
}

export interface Spacing {
  readonly between: number;
  readonly ranks: number;
}

// From left to right: `x` along the ranks, `y` across.
export function layered(nodes: readonly Sized[], edges: readonly Edge[], spacing: Spacing): Placed {
  const ranks = ranked(nodes, edges);
  const spots = new Map<string, Spot>();
  const layers: Spot[][] = [];
  const put = (rank: number, breadth: number): Spot => {
    const spot: Spot = { rank, breadth, before: [], after: [], order: 0, at: 0 };
    while (layers.length <= rank) layers.push([]);
    layers[rank]?.push(spot);
    return spot;
  };
  for (const node of nodes) spots.set(node.id, put(ranks.get(node.id) ?? 0, node.height));
  const chains = chained(edges, spots, put);
  arrange(layers, spacing.between);
  const columns = columnsOf(nodes, ranks, spacing.ranks);
  const centers = new Map<string, Point>();
  for (const [id, spot] of spots) centers.set(id, { x: columns[spot.rank] ?? 0, y: spot.at });
  const routes = chains.map(({ edge, bends }) => ({
    ...edge,
    through: bends.map((bend) => ({ x: columns[bend.rank] ?? 0, y: bend.at })),
  }));
  return { centers, routes };
}

// Each node one rank behind its last parent; those without parents just before their first child.
function ranked(nodes: readonly Sized[], edges: readonly Edge[]): Map<string, number> {
  const children = new Map<string, string[]>(nodes.map((node) => [node.id, []]));
  const missing = new Map<string, number>(nodes.map((node) => [node.id, 0]));
  for (const { from, to } of edges) {
    children.get(from)?.push(to);
    missing.set(to, (missing.get(to) ?? 0) + 1);
  }
  const ranks = new Map<string, number>();
  const ready = nodes.filter((node) => missing.get(node.id) === 0).map((node) => node.id);
  const roots = [...ready];
  for (const id of ready) ranks.set(id, 0);
  for (let next = ready.pop(); next !== undefined; next = ready.pop()) {
    for (const child of children.get(next) ?? []) {
      ranks.set(child, Math.max(ranks.get(child) ?? 0, (ranks.get(next) ?? 0) + 1));
      const left = (missing.get(child) ?? 0) - 1;
      missing.set(child, left);
      if (left === 0) ready.push(child);
    }
  }
  for (const root of roots) {
    const first = Math.min(...(children.get(root) ?? []).map((child) => ranks.get(child) ?? 0));
    if (Number.isFinite(first)) ranks.set(root, Math.max(0, first - 1));
  }
  return ranks;
}

// Edges over several ranks bend in each of them, so that nodes make room for them.
function chained(
  edges: readonly Edge[],
  spots: ReadonlyMap<string, Spot>,
  put: (rank: number, breadth: number) => Spot,
): Array<{ edge: Edge; bends: Spot[] }> {
  let bent = 0;
  return edges.flatMap((edge) => {
    const [from, to] = [spots.get(edge.from), spots.get(edge.to)];
    if (!from || !to) return [];
    const bends: Spot[] = [];
    bent += Math.max(0, to.rank - from.rank - 1);
    if (bent <= MOST_BENDS)
      for (let rank = from.rank + 1; rank < to.rank; rank++) bends.push(put(rank, LANE));
    const chain = [from, ...bends, to];
    chain.forEach((spot, index) => {
      const follower = chain[index + 1];
      if (!follower) return;
      spot.after.push(follower);
      follower.before.push(spot);
    });
    return [{ edge, bends }];
  });
}

function arrange(layers: Spot[][], between: number): void {
  for (const layer of layers) numbered(layer);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      const wish = (spot: Spot) => mean(down ? spot.before : spot.after, (one) => one.order) ?? spot.order;
      const wishes = new Map(layer.map((spot) => [spot, wish(spot)]));
      layer.sort((one, other) => (wishes.get(one) ?? 0) - (wishes.get(other) ?? 0));
      numbered(layer);
    }
  }
  for (const layer of layers) spread(layer, (spot) => spot.at, between);
  for (let turn = 0; turn < ALIGNMENTS; turn++) {
    const down = turn % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      spread(layer, (spot) => mean(down ? spot.before : spot.after, (one) => one.at) ?? spot.at, between);
    }
  }
}

// The order as a share of the layer, so that layers of different sizes can be compared.
function numbered(layer: Spot[]): void {
  layer.forEach((spot, index) => {
    spot.order = (index + 0.5) / layer.length;
  });
}

// Each as near to where it wishes to be as order and distance allow: neighbours that push each other move as one block.
function spread(layer: readonly Spot[], wish: (spot: Spot) => number, between: number): void {
  const blocks: Array<{ start: number; length: number; wishes: number; count: number; spots: Spot[] }> = [];
  for (const spot of layer) {
    const need = spot.breadth + between;
    let block = {
      start: wish(spot) - need / 2,
      length: need,
      wishes: wish(spot) - need / 2,
      count: 1,
      spots: [spot],
    };
    for (let last = blocks.at(-1); last && last.start + last.length > block.start; last = blocks.at(-1)) {
      blocks.pop();
      const count = last.count + block.count;
      const wishes = last.wishes + block.wishes - last.length * block.count;
      for (const one of block.spots) last.spots.push(one);
      block = { start: wishes / count, length: last.length + block.length, wishes, count, spots: last.spots };
    }
    blocks.push(block);
  }
  for (const block of blocks) {
    let at = block.start;
    for (const spot of block.spots) {
      spot.at = at + (spot.breadth + between) / 2;
      at += spot.breadth + between;
    }
  }
}

function columnsOf(nodes: readonly Sized[], ranks: ReadonlyMap<string, number>, gap: number): number[] {
  const widths: number[] = [];
  for (const node of nodes) {
    const rank = ranks.get(node.id) ?? 0;
    widths[rank] = Math.max(widths[rank] ?? 0, node.width);
  }
  let left = 0;
  return Array.from(widths, (width = 0) => {
    const middle = left + width / 2;
    left += width + gap;
    return middle;
  });
}

function mean(spots: readonly Spot[], of: (spot: Spot) => number): number | undefined {
  if (spots.length === 0) return undefined;
  let sum = 0;
  for (const spot of spots) sum += of(spot);
  return sum / spots.length;
}
