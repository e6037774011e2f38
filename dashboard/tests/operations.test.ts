// Tests of the charts of operations: what an hour looks like, and on which scale.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ceilingOf, lastHour, logShare, type Minute, stacked, totals } from "../src/operations/columns";

const minute = (at: string, some: Partial<Minute> = {}): Minute => ({
  at,
  created: 0,
  completed: 0,
  failed: 0,
  cancelled: 0,
  ...some,
});

test("an hour has sixty minutes, known or not, the newest last", () => {
  const now = Date.parse("2026-01-01T12:30:20Z");
  const hour = lastHour(
    [minute("2026-01-01T12:29:00Z", { created: 4 }), minute("2026-01-01T09:00:00Z")],
    now,
  );
  assert.equal(hour.length, 60);
  assert.equal(hour.at(-1)?.at, "2026-01-01T12:30:00.000Z");
  assert.equal(hour.at(-2)?.created, 4);
  assert.deepEqual(totals(hour), { created: 4, completed: 0, failed: 0, cancelled: 0 });
});

test("the scale is round and never too small", () => {
  assert.equal(ceilingOf([]), 1);
  assert.equal(ceilingOf([minute("", { created: 13 })]), 20);
  assert.equal(ceilingOf([minute("", { completed: 300, failed: 201 })]), 600);
});

test("endings stand upon each other", () => {
  const parts = stacked(minute("", { completed: 6, cancelled: 2 }), 10, 100);
  assert.deepEqual(parts, [
    { ending: "completed", from: 0, to: 60 },
    { ending: "cancelled", from: 60, to: 80 },
  ]);
});

test("each power of ten takes the same room", () => {
  const [one, ten, hundred] = [1, 10, 100].map(logShare) as [number, number, number];
  assert.ok(Math.abs(ten - one - (hundred - ten)) < 1e-9);
  assert.equal(logShare(0), 0);
  assert.equal(logShare(1e9), 1);
});
