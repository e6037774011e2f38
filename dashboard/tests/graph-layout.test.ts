// Tests of where the graph's parts stand: nothing overlaps, time runs forwards, and all of it is in the bounds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { curve } from "../src/graph/curve";
import { type Layout, layout } from "../src/graph/layout";
import { type Member, type Plan, plan } from "../src/graph/plan";
import { type Direction, overlaps } from "../src/graph/shape";

function member(id: string, depends_on: string[]): Member {
  return { id, name: id, title: id, state: "pending", depends_on };
}

/** Layers of tasks, each waiting for some of the layer before; reproducible, and no two with the same parents. */
function woven(layers: number, breadth: number): Member[] {
  let seed = 7;
  const random = () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed / 2 ** 31;
  };
  return Array.from({ length: layers * breadth }, (_, at) => {
    const layer = Math.floor(at / breadth);
    const parent = () => `t${(layer - 1) * breadth + Math.floor(random() * breadth)}`;
    return member(`t${at}`, layer ? [...new Set([parent(), parent()])] : []);
  });
}

function check(drawn: Plan, placed: Layout, direction: Direction): void {
  const boxes = [...placed.boxes.values()];
  assert.equal(boxes.length, drawn.items.length);
  boxes.forEach((one, at) => {
    for (const other of boxes.slice(at + 1)) assert.ok(!overlaps(one, other), "two nodes overlap");
  });
  const { x, y, width, height } = placed.bounds;
  for (const { points } of placed.routes) {
    const [first, last] = [points[0], points.at(-1)];
    assert.ok(first && last);
    assert.ok(direction === "lr" ? first.x < last.x : first.y < last.y, "an edge leads backwards");
    for (const point of points) {
      assert.ok(
        point.x >= x && point.x <= x + width && point.y >= y && point.y <= y + height,
        "out of bounds",
      );
    }
  }
}

for (const direction of ["lr", "tb"] as const) {
  test(`a graph to read, ${direction}`, () => {
    const drawn = plan("dag", woven(4, 5), new Map());
    check(drawn, layout(drawn, direction), direction);
  });

  test(`a graph to fly over, ${direction}`, () => {
    const drawn = plan("dag", [...woven(12, 25), member("late", ["t0", "t299"])], new Map());
    check(drawn, layout(drawn, direction), direction);
  });
}

test("a thousand tasks take no minute", () => {
  const drawn = plan("dag", woven(10, 100), new Map());
  const begun = performance.now();
  layout(drawn, "lr");
  assert.ok(performance.now() - begun < 3000);
});

test("an open group is as large as its members need", () => {
  const members = Array.from({ length: 50 }, (_, at) => member(`m${at}`, []));
  const drawn = plan("fan_out", members, new Map());
  const wide = layout(drawn, "lr").boxes.get("group:m0");
  const narrow = layout(drawn, "tb").boxes.get("group:m0");
  assert.ok(wide && narrow);
  assert.ok(wide.width > wide.height);
  assert.ok(narrow.width < 400);
});

test("nothing to draw", () => {
  assert.deepEqual(layout({ items: [], edges: [] }, "lr").bounds, { x: 0, y: 0, width: 0, height: 0 });
});

test("a curve leaves and arrives along the ranks", () => {
  const points = [
    { x: 0, y: 0 },
    { x: 10, y: 20 },
  ];
  assert.equal(curve(points, "lr"), "M0 0C5 0 5 20 10 20");
  assert.equal(curve(points, "tb"), "M0 0C0 10 10 10 10 20");
});
