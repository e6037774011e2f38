// Values that were met in lists, to suggest when somebody filters: spaces, capabilities, people, labels.
// It must not know what is filtered. They are what this browser has seen, not all there are.

import type { Row } from "./row";

export type KnownField = "space_id" | "capability" | "assigned_to" | "labels";

const MOST = 200;
const values: Record<KnownField, Set<string>> = {
  space_id: new Set(),
  capability: new Set(),
  assigned_to: new Set(),
  labels: new Set(),
};

export function learn(rows: readonly Row[]): void {
  for (const row of rows) {
    note("space_id", row.space_id);
    note("capability", row.capability);
    note("assigned_to", row.assigned_to);
    for (const label of row.labels) note("labels", label);
  }
}

/** Nobody else is told what one has met. */
export function forget(): void {
  for (const each of Object.values(values)) each.clear();
}

export function known(field: KnownField): string[] {
  return [...values[field]].sort((one, other) => one.localeCompare(other));
}

function note(field: KnownField, value: string | null): void {
  if (value !== null && values[field].size < MOST) values[field].add(value);
}
