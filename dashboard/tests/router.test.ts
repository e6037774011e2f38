// Tests of addresses: what is written into one is read out of it again.
// They must not know the pages.

import assert from "node:assert/strict";
import { test } from "node:test";
import { href, parse } from "../src/router";

test("an address is read as it was written", () => {
  const query = new URLSearchParams([
    ["state", "failed"],
    ["state", "running"],
    ["text", "a & b?"],
  ]);
  const { page, id, query: read } = parse(href("tasks", "order/7 ü", query));
  assert.equal(page, "tasks");
  assert.equal(id, "order/7 ü");
  assert.deepEqual([...read], [...query]);
});

test("no address is the inbox, an unknown one is no page, and a broken one breaks nothing", () => {
  assert.equal(parse("").page, "inbox");
  assert.equal(parse("#/nowhere").page, null);
  assert.equal(parse("#/tasks/%E0%A4%A").id, "%E0%A4%A");
});
