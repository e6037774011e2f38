// Tests of the arithmetic of scrolled rows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { revealed, seen, steady } from "../src/list/window";

const view = { top: 0, height: 100, rowHeight: 30, count: 1000 };

test("rows that are partly in sight are seen", () => {
  assert.deepEqual(seen(view), { first: 0, last: 4 });
  assert.deepEqual(seen({ ...view, top: 45 }), { first: 1, last: 5 });
});

test("spare rows end where the list ends", () => {
  assert.deepEqual(seen({ ...view, top: 30 }, 5), { first: 0, last: 10 });
  assert.deepEqual(seen({ ...view, top: 30 * 990, count: 992 }, 5), { first: 985, last: 992 });
  assert.deepEqual(seen({ ...view, top: 600 }, 1, 6), { first: 19, last: 30 });
  assert.deepEqual(seen({ ...view, count: 0 }, 5), { first: 0, last: 0 });
});

test("a row is revealed by scrolling as little as possible", () => {
  assert.equal(revealed(1, view), 0);
  assert.equal(revealed(3, view), 20);
  assert.equal(revealed(0, { ...view, top: 45 }), 0);
});

test("a row that moved stays under the eye, as far as the list's start allows", () => {
  assert.equal(steady(300, 12, 15, 30), 390);
  assert.equal(steady(300, 12, 11, 30), 270);
  assert.equal(steady(10, 12, 11, 30), 0);
});
