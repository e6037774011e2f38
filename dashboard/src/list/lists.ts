// The lists of a filter for as long as a component shows them, and where they were left when it comes back.
// It must not know which page it is.

import { useEffect, useMemo } from "preact/hooks";
import type { TaskState } from "../described";
import { type Filter, keyOf } from "./filter";
import { TaskLists } from "./tasks";

/** Where lists were scrolled to, by what they show: going back finds them there. */
const places = new Map<string, { top: number; total: number }>();
const KEPT = 40;

export function useTaskLists(filter: Filter, columns: readonly (readonly TaskState[])[]): TaskLists {
  const key = keyOf(filter) + JSON.stringify(columns);
  const lists = useMemo(() => new TaskLists(filter, columns), [key]);
  useEffect(() => lists.start(), [lists]);
  return lists;
}

export function placeAt(key: string): { top: number; total: number } {
  const place = places.get(key) ?? { top: 0, total: 0 };
  places.delete(key);
  places.set(key, place);
  for (const oldest of places.keys()) {
    if (places.size <= KEPT) break;
    places.delete(oldest);
  }
  return place;
}
