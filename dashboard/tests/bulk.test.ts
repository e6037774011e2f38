// Tests of what a bulk operation asks the server for.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Answer, type Ask, type Criteria, carriedOut, criteriaOf, foreseen } from "../src/list/bulk";
import { readFilter } from "../src/list/filter";
import { ALL, NONE, type Selection } from "../src/list/selection";

const filter = (text: string) => readFilter(new URLSearchParams(text));
const some = (count: number): Selection => ({
  all: false,
  ids: new Set(Array.from({ length: count }, (_, index) => `t${index}`)),
  anchor: null,
});

/** Answers as told, and keeps what it was asked. */
function server(answers: Partial<Answer>[]) {
  const calls: { criteria: Criteria; dry_run: boolean; cursor?: string | null }[] = [];
  const ask: Ask = async (criteria, given) => {
    calls.push({ criteria, ...given });
    return { matched: 0, changed: 0, more: false, ...answers.shift() };
  };
  return { calls, ask };
}

test("selected rows are named, a hundred at a time, whatever the filter says", () => {
  const criteria = criteriaOf("cancel", some(250), filter("state=pending&text=x"));
  assert.deepEqual(
    criteria.map((each) => each.ids?.length),
    [100, 100, 50],
  );
  assert.ok(criteria.every((each) => each.text === undefined));
});

test("all that a filter finds are meant by the filter, as far as the verb can change them", () => {
  assert.deepEqual(criteriaOf("retry", ALL, filter("labels=red")), [
    { labels: ["red"], state: ["failed", "cancelled"] },
  ]);
  assert.deepEqual(criteriaOf("cancel", ALL, filter("state=running&state=failed")), [{ state: ["running"] }]);
  assert.deepEqual(criteriaOf("retry", ALL, filter("state=running")), []);
});

test("nothing selected means nothing", () => {
  assert.deepEqual(criteriaOf("cancel", NONE, filter("")), []);
});

test("what would change is counted without changing anything", async () => {
  const { ask, calls } = server([{ matched: 90 }, { matched: 1000, more: true }]);
  assert.deepEqual(await foreseen([{}, {}], ask), { count: 1090, more: true });
  assert.ok(calls.every((call) => call.dry_run));
});

test("it goes on page by page until nothing is left, whatever refuses", async () => {
  const { ask, calls } = server([
    { matched: 500, changed: 500, more: true, next_cursor: "a" },
    { matched: 500, changed: 0, more: true, next_cursor: "b" },
    { matched: 7, changed: 7 },
  ]);
  const heard: number[] = [];
  const outcome = await carriedOut([{}], ask, ({ changed }) => heard.push(changed) > 0);
  assert.deepEqual(outcome, { changed: 507, unchanged: 500 });
  assert.deepEqual(heard, [500, 500, 507]);
  assert.deepEqual(
    calls.map((call) => call.cursor),
    [null, "a", "b"],
  );
});

test("it ends when it is told to", async () => {
  const { ask, calls } = server([{ matched: 500, changed: 500, more: true, next_cursor: "a" }]);
  assert.equal((await carriedOut([{}, {}], ask, () => false)).changed, 500);
  assert.equal(calls.length, 1);
});
