// Which rows of a scrolled list are seen: arithmetic over rows of one height.
// It must not know what a row holds, nor the document.

export interface View {
  top: number;
  height: number;
  rowHeight: number;
  count: number;
}

/** Half open: `first` is drawn, `last` is not. */
export interface Range {
  first: number;
  last: number;
}

/** The rows that a view shows, and some more before and after it. */
export function seen(view: View, before = 0, after = before): Range {
  const first = Math.floor(view.top / view.rowHeight) - before;
  const last = Math.ceil((view.top + view.height) / view.rowHeight) + after;
  return { first: within(first, view.count), last: within(last, view.count) };
}

/** Where to scroll so that row `index` is wholly in sight: as little as possible. */
export function revealed(index: number, view: View): number {
  const start = index * view.rowHeight;
  const end = start + view.rowHeight;
  if (start < view.top) return start;
  return end > view.top + view.height ? end - view.height : view.top;
}

/** Where to scroll so that the row that was at `before` and now is at `after` stays where the reader's eye is. */
export function steady(top: number, before: number, after: number, rowHeight: number): number {
  return Math.max(0, top + (after - before) * rowHeight);
}

function within(index: number, count: number): number {
  return Math.max(0, Math.min(index, count));
}
