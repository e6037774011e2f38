// Plan: what the graph draws of a workflow: tasks by themselves, and siblings gathered into groups.
// It must not know positions, the DOM or the network.

import type { Graph } from "../described";

export type Member = Graph["nodes"][number];

// closed: one node with counts. cards: a frame of small nodes with titles. cells: a frame of coloured squares.
export type Shape = "closed" | "cards" | "cells";

export interface TaskItem {
  readonly kind: "task";
  readonly id: string;
  readonly member: string;
}

export interface GroupItem {
  readonly kind: "group";
  readonly id: string;
  readonly members: readonly string[];
  readonly shape: Shape;
}

// Where a fan-out begins, and where its join decides: no tasks, but without them it would look like a heap.
export interface StartItem {
  readonly kind: "start";
  readonly id: string;
}

export interface JoinItem {
  readonly kind: "join";
  readonly id: string;
}

export type Item = TaskItem | GroupItem | StartItem | JoinItem;

export interface Edge {
  readonly from: string;
  readonly to: string;
}

export interface Plan {
  readonly items: readonly Item[];
  readonly edges: readonly Edge[];
}

// Up to so many equal siblings stand by themselves; more share a frame; above FOLDED the frame is closed at first.
export const ALONE = 12;
export const FOLDED = 50;
// Above this many an open group shows squares instead of titles.
export const TITLED = 120;

export const START = "start";
export const JOIN = "join";

export function plan(kind: string, members: readonly Member[], opened: ReadonlyMap<string, boolean>): Plan {
  const known = new Set(members.map((member) => member.id));
  const items: Item[] = [];
  const placeOf = new Map<string, string>();
  for (const siblings of bySiblings(members, known)) {
    for (const item of drawn(siblings, opened)) {
      items.push(item);
      for (const id of item.kind === "group" ? item.members : [item.id]) placeOf.set(id, item.id);
    }
  }
  const edges = edgesBetween(members, placeOf);
  return kind === "fan_out" ? withEnds(items, edges) : { items, edges };
}

export function groupOf(plan: Plan, member: string): GroupItem | undefined {
  for (const item of plan.items) if (item.kind === "group" && item.members.includes(member)) return item;
  return undefined;
}

// What the graph is drawn of, without its states: two plans with the same outline have the same layout.
export function outline(plan: Plan): string {
  const items = plan.items.map((item) =>
    item.kind === "group" ? `${item.id}:${item.shape}:${item.members.length}` : item.id,
  );
  return `${items.join(" ")}|${plan.edges.map((edge) => `${edge.from}>${edge.to}`).join(" ")}`;
}

// Members that wait for the same tasks, and for which the same tasks wait, in the order of their first.
function bySiblings(members: readonly Member[], known: ReadonlySet<string>): Member[][] {
  const children = new Map<string, string[]>();
  for (const member of members) {
    for (const parent of member.depends_on) {
      if (known.has(parent)) append(children, parent, member.id);
    }
  }
  const families = new Map<string, Member[]>();
  for (const member of members) {
    const parents = member.depends_on.filter((parent) => known.has(parent)).sort();
    const key = `${parents.join(" ")}|${[...(children.get(member.id) ?? [])].sort().join(" ")}`;
    const family = families.get(key);
    if (family) family.push(member);
    else families.set(key, [member]);
  }
  return [...families.values()];
}

function append(lists: Map<string, string[]>, key: string, value: string): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

function drawn(siblings: readonly Member[], opened: ReadonlyMap<string, boolean>): Item[] {
  if (siblings.length <= ALONE) return siblings.map(({ id }) => ({ kind: "task", id, member: id }));
  const id = `group:${siblings[0]?.id}`;
  const open = opened.get(id) ?? siblings.length <= FOLDED;
  const shape = !open ? "closed" : siblings.length <= TITLED ? "cards" : "cells";
  return [{ kind: "group", id, members: siblings.map((member) => member.id), shape }];
}

function edgesBetween(members: readonly Member[], placeOf: ReadonlyMap<string, string>): Edge[] {
  const edges = new Map<string, Edge>();
  for (const member of members) {
    const to = placeOf.get(member.id);
    for (const parent of member.depends_on) {
      const from = placeOf.get(parent); // none: it waits for a task of another workflow
      if (from !== undefined && to !== undefined && from !== to) edges.set(`${from}>${to}`, { from, to });
    }
  }
  return [...edges.values()];
}

function withEnds(items: readonly Item[], edges: readonly Edge[]): Plan {
  const entered = new Set(edges.map((edge) => edge.to));
  const left = new Set(edges.map((edge) => edge.from));
  return {
    items: [{ kind: "start", id: START }, ...items, { kind: "join", id: JOIN }],
    edges: [
      ...items.filter((item) => !entered.has(item.id)).map((item) => ({ from: START, to: item.id })),
      ...edges,
      ...items.filter((item) => !left.has(item.id)).map((item) => ({ from: item.id, to: JOIN })),
    ],
  };
}
