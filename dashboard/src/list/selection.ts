// Which rows are selected: some by name, or all that the filter finds.
// It must not know what is done with them.

export type Selection = { all: true } | { all: false; ids: ReadonlySet<string>; anchor: string | null };

export const NONE: Selection = { all: false, ids: new Set(), anchor: null };
export const ALL: Selection = { all: true };

export function isSelected(selection: Selection, id: string): boolean {
  return selection.all || selection.ids.has(id);
}

export function isNothing(selection: Selection): boolean {
  return !selection.all && selection.ids.size === 0;
}

/** One row more or less. From all that the filter finds, it begins anew: what is not loaded cannot be named. */
export function toggledRow(selection: Selection, id: string): Selection {
  const ids = new Set(selection.all ? [] : selection.ids);
  if (!ids.delete(id)) ids.add(id);
  return { all: false, ids, anchor: id };
}

/** Everything between the row that was touched last and this one, as shift and a click mean it. */
export function extended(selection: Selection, id: string, order: readonly string[]): Selection {
  const from = selection.all || selection.anchor === null ? -1 : order.indexOf(selection.anchor);
  const to = order.indexOf(id);
  if (selection.all || from < 0 || to < 0) return toggledRow(selection, id);
  const between = order.slice(Math.min(from, to), Math.max(from, to) + 1);
  return { all: false, ids: new Set([...selection.ids, ...between]), anchor: id };
}
