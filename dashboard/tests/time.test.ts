// Tests of how moments and durations are said.
// They must not depend on where they run.

import assert from "node:assert/strict";
import { test } from "node:test";
import { duration, relative } from "../src/time";

test("a duration has two units at most, and no unit that overflows", () => {
  const said = [0.85, 4.25, 12, 59.7, 250, 3600, 12_000, 187_200].map(duration);
  assert.deepEqual(said, ["850 ms", "4.3 s", "12 s", "1 min", "4 min 10 s", "1 h", "3 h 20 min", "2 d 4 h"]);
});

test("a moment is said from now", () => {
  const now = Date.UTC(2026, 0, 1);
  assert.equal(relative(now - 2000, now), "just now");
  assert.equal(relative(now - 250_000, now), "4 min ago");
  assert.equal(relative(now + 7_200_000, now), "in 2 h");
});
