// Tests of how changes are gathered: a few by name, many at once, never more often than the pace allows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Changes, MANY, PACE, PACE_OF_MANY } from "../src/list/changes";
import type { Timer } from "../src/list/paced";

/** Time that passes when the test says so. */
class Time implements Timer {
  #now = 0;
  #due: { at: number; act: () => void }[] = [];
  now = () => this.#now;
  after(milliseconds: number, act: () => void) {
    const entry = { at: this.#now + milliseconds, act };
    this.#due.push(entry);
    return () => {
      this.#due = this.#due.filter((other) => other !== entry);
    };
  }
  async pass(milliseconds: number): Promise<void> {
    this.#now += milliseconds;
    const due = this.#due.filter((entry) => entry.at <= this.#now);
    this.#due = this.#due.filter((entry) => entry.at > this.#now);
    for (const entry of due) entry.act();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function gathered() {
  const time = new Time();
  const done: (string[] | "many")[] = [];
  const readers = {
    few: async (ids: string[]) => void done.push(ids),
    many: async () => void done.push("many"),
  };
  return { time, done, changes: new Changes(readers, time) };
}

const names = (count: number) => Array.from({ length: count }, (_, index) => `t${index}`);

test("a single change is asked for at once", async () => {
  const { time, done, changes } = gathered();
  changes.add(["a"]);
  await time.pass(0);
  assert.deepEqual(done, [["a"]]);
});

test("what follows waits for the pace, and is asked for together, each once", async () => {
  const { time, done, changes } = gathered();
  changes.add(["a"]);
  await time.pass(0);
  changes.add(["b"]);
  changes.add(["b", "c"]);
  await time.pass(PACE - 1);
  assert.equal(done.length, 1);
  await time.pass(1);
  assert.deepEqual(done[1], ["b", "c"]);
});

test("too many to name are one reading of what is seen, and that not too often", async () => {
  const { time, done, changes } = gathered();
  changes.add(names(MANY + 1));
  await time.pass(0);
  changes.add(names(5000));
  await time.pass(PACE_OF_MANY - 1);
  assert.deepEqual(done, ["many"]);
  await time.pass(1);
  assert.deepEqual(done, ["many", "many"]);
});

test("after the end nothing is asked for", async () => {
  const { time, done, changes } = gathered();
  changes.add(["a"]);
  changes.close();
  await time.pass(PACE);
  changes.add(["b"]);
  await time.pass(PACE);
  assert.deepEqual(done, []);
});
