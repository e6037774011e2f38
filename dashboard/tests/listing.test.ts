// Tests of the loaded part of a list: what pages and changes make of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Task } from "../src/described";
import { Listing } from "../src/list/listing";
import { type Row, rowOf } from "../src/list/row";

function row(id: string, fields: Partial<Task> = {}): Row {
  const task = { id, priority: 1, state: "pending", updated_at: "2026-01-01T00:00:00Z", ...fields };
  return rowOf(task as Task);
}

const rows = (...ids: string[]) => ids.map((id) => row(id));
const ids = (listing: Listing) => listing.rows.map((each) => each.id).join("");

/** Two pages of three, and more to come. */
function loaded(): Listing {
  const listing = new Listing();
  listing.append({ rows: rows("a", "c", "e"), next: "after e" }, 3);
  listing.append({ rows: rows("g", "i", "k"), next: "after k" }, 3);
  return listing;
}

test("pages follow each other, and the last one ends the list", () => {
  const listing = loaded();
  assert.equal(listing.next, "after k");
  listing.append({ rows: rows("m"), next: null }, 3);
  assert.equal(ids(listing), "acegikm");
  assert.equal(listing.ended, true);
});

test("a new row takes its place, urgent ones first", () => {
  const listing = loaded();
  listing.put(row("d"));
  listing.put(row("z", { priority: 3 }));
  assert.equal(ids(listing), "zacdegik");
});

test("a row beyond what is loaded waits for its page", () => {
  const listing = loaded();
  listing.put(row("z"));
  assert.equal(ids(listing), "acegik");
  listing.append({ rows: [], next: null }, 3);
  listing.put(row("z"));
  assert.equal(ids(listing), "acegikz");
});

test("a changed row stays where it is, and moves when its priority changed", () => {
  const listing = loaded();
  listing.put(row("e", { state: "running" }));
  assert.equal(ids(listing), "acegik");
  assert.equal(listing.get("e")?.state, "running");
  listing.put(row("i", { priority: 2 }));
  assert.equal(ids(listing), "iacegk");
  listing.put(row("i", { priority: 0 }));
  assert.equal(ids(listing), "acegk");
});

test("what was read earlier does not replace what was read later", () => {
  const listing = loaded();
  listing.put(row("c", { state: "completed", updated_at: "2026-01-01T00:00:05.5Z" }));
  listing.put(row("c", { state: "running", updated_at: "2026-01-01T00:00:05Z" }));
  assert.equal(listing.get("c")?.state, "completed");
});

test("a page read again drops what is gone and takes what is new, and leaves the rest", () => {
  const listing = loaded();
  listing.spoil();
  const mark = listing.staleAmong(0, 2);
  assert.ok(mark);
  listing.renew(mark, { rows: rows("b", "c", "d"), next: "after d" }, 3);
  assert.equal(ids(listing), "bcdegik");
  const next = listing.staleAmong(0, 4);
  assert.deepEqual(next, { at: 3, cursor: "after d", stale: true });
  listing.renew(next, { rows: rows("e", "f", "g"), next: "after g" }, 3);
  assert.equal(ids(listing), "bcdefgik");
  assert.equal(listing.staleAmong(0, 6), undefined);
  assert.equal(listing.next, "after k");
});

test("a page read again in the middle leaves both sides", () => {
  const listing = loaded();
  listing.spoil();
  const mark = listing.staleAmong(4, 6);
  assert.equal(mark?.cursor, "after e");
  listing.renew(mark, { rows: rows("g", "h", "i"), next: "after i" }, 3);
  assert.equal(ids(listing), "aceghik");
});

test("a page read again that is the last one ends the list", () => {
  const listing = loaded();
  listing.spoil();
  const mark = listing.staleAmong(4, 6);
  assert.ok(mark);
  listing.renew(mark, { rows: rows("g"), next: null }, 3);
  assert.equal(ids(listing), "aceg");
  assert.equal(listing.ended, true);
});

test("an ended list that has grown is not ended any more", () => {
  const listing = loaded();
  listing.append({ rows: [], next: null }, 3);
  listing.spoil();
  const mark = listing.staleAmong(4, 6);
  assert.ok(mark);
  listing.renew(mark, { rows: rows("g", "i", "l"), next: "after l" }, 3);
  assert.equal(ids(listing), "acegil");
  assert.deepEqual([listing.ended, listing.next], [false, "after l"]);
});

test("a row that moved between pages is held once", () => {
  const listing = loaded();
  listing.spoil();
  const mark = listing.staleAmong(0, 3);
  assert.ok(mark);
  listing.renew(mark, { rows: [row("k", { priority: 3 }), row("a"), row("c")], next: "after c" }, 3);
  assert.equal(ids(listing), "kacegi");
});

test("marks move with rows that come and go before them", () => {
  const listing = loaded();
  listing.put(row("b"));
  listing.drop("a");
  listing.drop("c");
  listing.spoil();
  assert.equal(listing.staleAmong(2, 4)?.cursor, "after e");
  assert.equal(listing.staleAmong(1, 2)?.cursor, null);
});

test("a page ended early marks no place to read again from", () => {
  const listing = new Listing();
  listing.append({ rows: rows("a"), next: "somewhere" }, 3);
  listing.append({ rows: rows("c", "e", "g"), next: "after g" }, 3);
  listing.spoil();
  assert.equal(listing.staleAmong(2, 4)?.cursor, null);
});
