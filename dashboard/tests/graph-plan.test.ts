// Tests of what the graph draws: who stands alone, who shares a frame, and which edges lead where.

import assert from "node:assert/strict";
import { test } from "node:test";
import { groupOf, JOIN, type Member, outline, plan, START } from "../src/graph/plan";

const NONE = new Map<string, boolean>();

function member(id: string, ...depends_on: string[]): Member {
  return { id, name: id, title: id, state: "pending", depends_on };
}

function many(count: number, ...depends_on: string[]): Member[] {
  return Array.from({ length: count }, (_, at) => member(`m${at}`, ...depends_on));
}

test("a pipeline is a chain of tasks", () => {
  const { items, edges } = plan("pipeline", [member("a"), member("b", "a"), member("c", "b")], NONE);
  assert.deepEqual(
    items.map((item) => item.id),
    ["a", "b", "c"],
  );
  assert.deepEqual(edges, [
    { from: "a", to: "b" },
    { from: "b", to: "c" },
  ]);
});

test("a small fan-out lies between its start and its join", () => {
  const { items, edges } = plan("fan_out", many(2), NONE);
  assert.deepEqual(
    items.map((item) => item.kind),
    ["start", "task", "task", "join"],
  );
  assert.deepEqual(edges, [
    { from: START, to: "m0" },
    { from: START, to: "m1" },
    { from: "m0", to: JOIN },
    { from: "m1", to: JOIN },
  ]);
});

test("50 members are all drawn, 51 are one node until it is opened", () => {
  const fifty = plan("fan_out", many(50), NONE).items[1];
  assert.equal(fifty?.kind === "group" && fifty.shape, "cards");
  const members = many(51);
  const group = plan("fan_out", members, NONE).items[1];
  assert.ok(group?.kind === "group");
  assert.equal(group.shape, "closed");
  assert.equal(group.members.length, 51);
  const opened = plan("fan_out", members, new Map([[group.id, true]])).items[1];
  assert.equal(opened?.kind === "group" && opened.shape, "cards");
  const huge = plan("fan_out", many(500), new Map([[group.id, true]])).items[1];
  assert.equal(huge?.kind === "group" && huge.shape, "cells");
});

test("siblings in the middle of a graph are gathered, and its edges with them", () => {
  const workers = many(60, "a");
  const end = member("z", ...workers.map((one) => one.id));
  const drawn = plan("dag", [member("a"), ...workers, end], NONE);
  assert.equal(drawn.items.length, 3);
  assert.equal(drawn.edges.length, 2);
  assert.equal(groupOf(drawn, "m7")?.id, "group:m0");
  assert.equal(groupOf(drawn, "a"), undefined);
});

test("those who wait for others are no siblings", () => {
  const members = [member("a"), member("b"), ...many(20, "a"), member("x", "b")];
  const group = plan("dag", members, NONE).items.find((item) => item.kind === "group");
  assert.equal(group?.kind === "group" && group.members.length, 20);
});

test("what belongs to another workflow has no edge", () => {
  assert.deepEqual(plan("pipeline", [member("a", "elsewhere")], NONE).edges, []);
});

test("a state changes nothing of the outline, an opened group does", () => {
  const members = many(60);
  const before = outline(plan("fan_out", members, NONE));
  const moved = members.map((one): Member => ({ ...one, state: "completed" }));
  assert.equal(outline(plan("fan_out", moved, NONE)), before);
  assert.notEqual(outline(plan("fan_out", members, new Map([["group:m0", true]]))), before);
});
