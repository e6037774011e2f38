// Tests of filters in addresses, and of selections.

import assert from "node:assert/strict";
import { test } from "node:test";
import { asked, isEmpty, keyOf, readFilter, toggled, writeFilter } from "../src/list/filter";
import { ALL, extended, isSelected, NONE, toggledRow } from "../src/list/selection";

const read = (text: string) => readFilter(new URLSearchParams(text));

test("an address says what is shown, and says it again the same way", () => {
  const text =
    "labels=red&labels=two+words&overdue=true&priority=high&state=pending&state=running&text=a%26b";
  const filter = read(text);
  assert.deepEqual(filter.state, ["pending", "running"]);
  assert.equal(filter.text, "a&b");
  assert.equal(writeFilter(filter).toString(), text);
});

test("what an address says wrongly is left out", () => {
  assert.ok(isEmpty(read("state=lost&priority=9&mode=x&overdue=maybe&text=++&space_id=&nonsense=1")));
});

test("the API is asked for what is set and nothing else", () => {
  assert.deepEqual(asked(read("state=failed&assigned_to=ann")), { assigned_to: "ann", state: ["failed"] });
});

test("the order of words in an address makes no other filter", () => {
  assert.equal(
    keyOf(read("state=running&state=pending&text=x")),
    keyOf(read("text=x&state=pending&state=running")),
  );
});

test("a value is toggled", () => {
  assert.deepEqual(toggled(["a", "b"], "a"), ["b"]);
  assert.deepEqual(toggled(["a"], "b"), ["a", "b"]);
});

test("rows are selected one by one, between two, and all", () => {
  const order = ["a", "b", "c", "d"];
  const one = toggledRow(NONE, "b");
  assert.equal(isSelected(one, "b"), true);
  const several = extended(one, "d", order);
  assert.deepEqual(
    order.filter((id) => isSelected(several, id)),
    ["b", "c", "d"],
  );
  assert.equal(isSelected(toggledRow(several, "c"), "c"), false);
  assert.equal(isSelected(ALL, "anything"), true);
  assert.deepEqual(
    order.filter((id) => isSelected(toggledRow(ALL, "a"), id)),
    ["a"],
  );
});
