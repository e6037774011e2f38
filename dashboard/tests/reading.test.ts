// Tests of reading ahead: what is asked for while somebody scrolls.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Task } from "../src/described";
import type { Page } from "../src/list/listing";
import { AHEAD, type Ask, LARGEST, PAGE, Reading } from "../src/list/reading";
import { type Row, rowOf } from "../src/list/row";

const name = (index: number) => String(index).padStart(6, "0");

function row(id: string): Row {
  return rowOf({ id, priority: 1, state: "pending", updated_at: "2026-01-01T00:00:00Z" } as Task);
}

/** A server with `count` tasks; `asked` keeps what it was asked for. */
function server(count: number, budget = Number.POSITIVE_INFINITY) {
  const tasks = Array.from({ length: count }, (_, index) => name(index));
  const asked: { cursor: string | null; limit: number }[] = [];
  const ask: Ask = async (cursor, limit) => {
    asked.push({ cursor, limit });
    const from = cursor === null ? 0 : tasks.findIndex((id) => id > cursor);
    if (from < 0) return { rows: [], next: null };
    const some = tasks.slice(from, from + Math.min(limit, budget));
    const last = some.at(-1) ?? null;
    return { rows: some.map(row), next: last === tasks.at(-1) ? null : last } satisfies Page;
  };
  return { tasks, asked, ask };
}

const told = { changed: () => undefined, failed: (error: unknown) => assert.fail(String(error)) };

test("the first page comes before the reader scrolls, and no more than is needed", async () => {
  const { ask, asked } = server(10_000);
  const reading = new Reading(ask, told);
  await reading.see({ first: 0, last: 30 });
  assert.ok(reading.listing.rows.length >= 30 + AHEAD);
  assert.ok(reading.listing.rows.length < 1000);
  assert.equal(asked[0]?.cursor, null);
});

test("a jump to the end takes few large pages", async () => {
  const { ask, asked } = server(10_000);
  const reading = new Reading(ask, told);
  await reading.see({ first: 0, last: 30 });
  asked.length = 0;
  await reading.see({ first: 9970, last: 10_000 });
  assert.equal(reading.listing.rows.length, 10_000);
  assert.equal(reading.listing.ended, true);
  assert.ok(asked.length <= 10_000 / LARGEST + 1, `${asked.length} requests`);
});

test("what is seen is asked for once at a time, however often the reader scrolls", async () => {
  const { ask, asked } = server(10_000);
  const reading = new Reading(ask, told);
  await Promise.all([1, 2, 3, 4].map((step) => reading.see({ first: step, last: 30 + step })));
  assert.ok(asked.length <= 2, `${asked.length} requests`);
});

test("read again: only what is in sight, and the rest when it comes into sight", async () => {
  const { ask, asked, tasks } = server(1000);
  const reading = new Reading(ask, told);
  await reading.see({ first: 700, last: 730 });
  tasks.splice(700, 1);
  tasks.splice(0, 1);
  asked.length = 0;
  await reading.again();
  assert.ok(asked[0]?.cursor !== null, "the pages before are left alone");
  assert.equal(reading.listing.get(name(700)), undefined);
  assert.ok(reading.listing.get(name(0)));
  await reading.see({ first: 0, last: 30 });
  assert.equal(reading.listing.get(name(0)), undefined);
});

test("pages that end early are read on", async () => {
  const { ask } = server(300, 7);
  const reading = new Reading(ask, told);
  await reading.see({ first: 0, last: 30 });
  assert.ok(reading.listing.rows.length >= 30 + AHEAD);
  await reading.again();
  assert.ok(reading.listing.rows.length >= 30 + AHEAD);
  assert.ok(reading.listing.rows.every((each, index) => each.id === name(index)));
});

test("a failure is told, and what is missing is read later", async () => {
  const { ask } = server(PAGE);
  let broken = true;
  const failures: unknown[] = [];
  const reading = new Reading((...given) => (broken ? Promise.reject(new Error("away")) : ask(...given)), {
    changed: () => undefined,
    failed: (error) => failures.push(error),
  });
  await reading.see({ first: 0, last: 30 });
  assert.equal(failures.length, 1);
  broken = false;
  await reading.retry();
  assert.equal(reading.listing.rows.length, PAGE);
});

test("an answer that comes after the end changes nothing", async () => {
  const { ask } = server(PAGE);
  const reading = new Reading(async (...given) => {
    const page = await ask(...given);
    reading.close();
    return page;
  }, told);
  await reading.see({ first: 0, last: 30 });
  assert.equal(reading.listing.rows.length, 0);
});
