// Tests of how events carry a picture on, and of the bars and ticks that are drawn of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Attempt, Event } from "../src/described";
import { extent, rowsOf } from "../src/graph/bars";
import { flowOf, standingOf } from "../src/graph/flow";
import { counted, follow, pictureOf } from "../src/graph/follow";
import type { Member } from "../src/graph/plan";
import { ticks } from "../src/graph/ticks";
import { groupTitle } from "../src/graph/words";

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 12, 0, second)).toISOString();
const time = (second: number) => Date.parse(at(second));

function member(id: string, state: Member["state"] = "pending", ...depends_on: string[]): Member {
  return { id, name: id, title: id, state, depends_on };
}

function event(kind: string, second: number, task: string | null, data: Record<string, unknown> = {}): Event {
  return {
    org_id: "acme",
    seq: second,
    kind,
    at: at(second),
    task_id: task,
    workflow_id: "w",
    data,
    hash: "",
  };
}

function attempt(task: string, number: number, times: [number, number | null, number | null]): Attempt {
  const [claimed, started, ended] = times.map((one) => (one === null ? null : at(one)));
  return {
    task_id: task,
    number,
    generation: 1,
    state: ended ? "completed" : "running",
    agent_id: null,
    claimed_at: claimed ?? "",
    started_at: started ?? null,
    ended_at: ended ?? null,
    lease_expires_at: null,
    error: null,
  };
}

test("a task is followed from its claim to its retry", () => {
  const { picture, failed } = follow(pictureOf([member("a")], []), "w", [
    event("task.claimed", 1, "a", { state: "claimed", attempt: 1, assigned_to: "ann" }),
    event("task.started", 2, "a", { state: "running", attempt: 1 }),
    event("task.retrying", 5, "a", { state: "retrying", attempt: 1, error: "Timeout" }),
    event("task.started", 7, "a", { state: "running", attempt: 2 }),
    event("task.progress", 8, "a", { state: "running", attempt: 2, progress: 40, message: "half" }),
  ]);
  assert.equal(picture.members.get("a")?.state, "running");
  const [first, second] = picture.attempts.get("a") ?? [];
  assert.deepEqual(
    [first?.state, first?.agent_id, first?.started_at, first?.ended_at],
    ["failed", "ann", at(2), at(5)],
  );
  assert.equal(first?.error?.type, "Timeout");
  assert.deepEqual([second?.state, second?.claimed_at, second?.ended_at], ["running", at(7), null]);
  assert.deepEqual(picture.progress.get("a"), { percent: 40, message: "half" });
  assert.deepEqual([...failed], ["a"]);
});

test("an event that was read already changes nothing", () => {
  const before = pictureOf([member("a", "completed")], [attempt("a", 1, [1, 2, 3])]);
  const after = follow(before, "w", [event("task.completed", 9, "a", { state: "completed", attempt: 1 })]);
  assert.deepEqual(after.picture.attempts.get("a"), before.attempts.get("a"));
});

test("other workflows are none of ours; new members and the workflow's own moves must be read", () => {
  const before = pictureOf([member("a")], []);
  const foreign = { ...event("task.completed", 1, "a", { state: "completed" }), workflow_id: "other" };
  assert.equal(follow(before, "w", [foreign]).picture.members.get("a")?.state, "pending");
  assert.equal(
    follow(before, "w", [event("task.created", 1, "b", { state: "pending", attempt: 0 })]).graph,
    true,
  );
  assert.equal(follow(before, "w", [event("workflow.completed", 1, null)]).workflow, true);
});

test("members are counted by state", () => {
  const counts = counted([member("a"), member("b", "failed"), member("c")]);
  assert.deepEqual(
    [...counts],
    [
      ["pending", 2],
      ["failed", 1],
    ],
  );
});

test("bars say when a task was ready, held, at work, and between attempts", () => {
  const picture = pictureOf(
    [member("a", "completed"), member("b", "retrying", "a"), member("c", "blocked", "b")],
    [attempt("a", 1, [2, 3, 5]), attempt("b", 1, [6, 6, 8])],
  );
  const [a, b, c] = rowsOf(picture, time(0));
  assert.deepEqual(
    a?.bars.map(({ kind, from, to }) => [kind, from, to]),
    [
      ["ready", time(0), time(2)],
      ["held", time(2), time(3)],
      ["run", time(3), time(5)],
    ],
  );
  assert.deepEqual(
    b?.bars.map(({ kind, from, to }) => [kind, from, to]),
    [
      ["ready", time(5), time(6)],
      ["run", time(6), time(8)],
      ["again", time(8), null],
    ],
  );
  assert.deepEqual(c?.bars, []);
});

test("rows are in the order in which they began; what goes on lasts until now", () => {
  const picture = pictureOf(
    [member("a"), member("b", "running"), member("c", "completed")],
    [attempt("b", 1, [5, 5, null]), attempt("c", 1, [1, 1, 4])],
  );
  const rows = rowsOf(picture, time(0));
  assert.deepEqual(
    rows.map((row) => row.member.id),
    ["c", "b", "a"],
  );
  assert.equal(extent(rows, time(0), time(60)).to, time(60));
  assert.equal(extent(rows.slice(0, 1), time(0), time(60)).to, time(4));
});

test("ticks are round and few", () => {
  const found = ticks(time(0), time(48), 6);
  assert.deepEqual(
    found.map((tick) => (tick.at - time(0)) / 1000),
    [0, 10, 20, 30, 40],
  );
  assert.match(found[1]?.text ?? "", /^\d\d:\d\d:10$/);
  const days = ticks(time(0), time(0) + 40 * 86_400_000, 8);
  assert.ok(days.length > 2 && days.length <= 8);
  assert.match(days[0]?.text ?? "", /^\d{4}-\d\d-\d\d$/);
});

test("a group is called by what its titles have in common", () => {
  assert.equal(groupTitle(["Count src/module_1.py", "Count src/module_12.py"]), "Count src/ …");
  assert.equal(groupTitle(["Translate chapter 3", "Translate chapter 4"]), "Translate chapter …");
  assert.equal(groupTitle(["apples", "apes"]), "Tasks");
  assert.equal(groupTitle(["Ping", "Ping"]), "Ping");
});

test("an edge says whether what it comes from ended well, and whether what it leads to works", () => {
  const task = (id: string) => ({ kind: "task", id, member: id }) as const;
  const picture = pictureOf([member("a", "completed"), member("b", "running"), member("c", "failed")], []);
  const [a, b, c] = ["a", "b", "c"].map((id) => standingOf(task(id), picture));
  assert.ok(a && b && c);
  assert.equal(flowOf(a, b), "flows");
  assert.equal(flowOf(a, c), "done");
  assert.equal(flowOf(c, a), "broken");
  assert.equal(flowOf(b, a), "waits");
  const both = { kind: "group", id: "g", members: ["a", "c"], shape: "closed" } as const;
  assert.equal(flowOf(standingOf(both, picture), a), "broken");
});
