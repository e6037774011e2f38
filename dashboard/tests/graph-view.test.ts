// Tests of what part of the graph is seen, of the way by arrow keys, and of text that must fit.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fit, fitMiddle, fitTitle, widthOf } from "../src/graph/fit";
import { fitted, kept, neighbour, revealed, window, zoomed } from "../src/graph/view";

const SIZE = { width: 400, height: 200 };

test("a small graph is in the middle and not blown up", () => {
  const view = fitted({ x: 0, y: 0, width: 200, height: 100 }, SIZE);
  assert.deepEqual(view, { x: -100, y: -50, scale: 1 });
});

test("a large graph is seen as a whole", () => {
  const bounds = { x: 10, y: 10, width: 800, height: 300 };
  const seen = window(fitted(bounds, SIZE), SIZE);
  assert.equal(seen.x, 10);
  assert.equal(seen.width, 800);
  assert.ok(seen.y <= 10 && seen.y + seen.height >= 310);
});

test("zooming keeps what is under the pointer", () => {
  const before = { x: 5, y: 7, scale: 1 };
  const after = zoomed(before, 2, { x: 100, y: 50 });
  assert.equal(after.x + 100 / after.scale, before.x + 100);
  assert.equal(after.y + 50 / after.scale, before.y + 50);
  assert.equal(zoomed(before, 1000, { x: 0, y: 0 }).scale, 2.5);
});

test("what is seen is not moved, what is outside comes in", () => {
  const view = { x: 0, y: 0, scale: 1 };
  assert.deepEqual(revealed(view, { x: 100, y: 50, width: 50, height: 50 }, SIZE), view);
  const after = revealed(view, { x: 500, y: 50, width: 50, height: 50 }, SIZE);
  assert.deepEqual(after, { x: 174, y: 0, scale: 1 });
});

test("the graph cannot be lost", () => {
  const bounds = { x: 0, y: 0, width: 300, height: 100 };
  const after = kept({ x: 9000, y: -9000, scale: 1 }, bounds, SIZE);
  assert.ok(after.x < 300);
  assert.ok(after.y + SIZE.height > 0);
});

test("arrows lead to what lies in their direction", () => {
  const box = (x: number, y: number) => ({ x, y, width: 10, height: 10 });
  const boxes = new Map([
    ["a", box(0, 0)],
    ["b", box(100, 5)],
    ["c", box(50, 80)],
    ["d", box(0, 60)],
  ]);
  assert.equal(neighbour(boxes, "a", "ArrowRight"), "b");
  assert.equal(neighbour(boxes, "a", "ArrowDown"), "d");
  assert.equal(neighbour(boxes, "a", "ArrowLeft"), undefined);
  assert.equal(neighbour(boxes, "a", "Enter"), undefined);
});

test("text that does not fit is cut where it says least", () => {
  assert.equal(fit("short", 100, 13), "short");
  const cut = fit("a very long title of a task", 100, 13);
  assert.ok(cut.endsWith("…") && widthOf(cut, 13) <= 100);
  const path = fitMiddle("Count durable_tasks/store/submissions.py", 160, 13);
  assert.ok(path.startsWith("Count") && path.endsWith("s.py") && widthOf(path, 13) <= 160 + 13);
  assert.ok(fitTitle("Forecast demand per warehouse", 120, 13).startsWith("Forecast"));
  assert.ok(fitTitle("Render assets/photo-007.jpg", 120, 13).endsWith("7.jpg"));
});
