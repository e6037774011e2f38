// The loaded part of a list, always from its start: pages appended, rows patched, moved, added and dropped in place.
// It must not know how pages are fetched. A page that was read in full can be read again by the cursor that gave it.

import { compare, later, type Place, placeOf, type Row } from "./row";

export interface Page {
  rows: Row[];
  next: string | null;
}

/** Where a page begins. The page at a mark holds what comes after its cursor. */
export interface Mark {
  at: number;
  cursor: string | null;
  stale: boolean;
}

export class Listing {
  #rows: Row[] = [];
  #held = new Map<string, Row>();
  #marks: Mark[] = [{ at: 0, cursor: null, stale: false }];
  #next: string | null = null;
  #ended = false;
  #started = false;

  get rows(): readonly Row[] {
    return this.#rows;
  }

  /** Whether every row is loaded. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Whether the first page has come. */
  get started(): boolean {
    return this.#started;
  }

  /** The cursor of the page that comes next; null before the first. */
  get next(): string | null {
    return this.#next;
  }

  get(id: string): Row | undefined {
    return this.#held.get(id);
  }

  indexOf(id: string): number {
    const row = this.#held.get(id);
    return row === undefined ? -1 : this.#rows.indexOf(row);
  }

  /** The page after the last one. `limit` is what was asked for: a page may be shorter though more follow, and then
   * its cursor is no row's, so nothing is marked there. */
  append(page: Page, limit: number): void {
    for (const row of page.rows) {
      if (!this.#held.has(row.id)) this.#insert(this.#rows.length, row);
    }
    this.#started = true;
    this.#next = page.next;
    this.#ended = page.next === null;
    if (page.next !== null && page.rows.length >= limit) {
      this.#marks.push({ at: this.#rows.length, cursor: page.next, stale: false });
    }
  }

  /** A page read again, from `mark` on. What it passed over is gone; what lies beyond its last row stays. */
  renew(mark: Mark, page: Page, limit: number): void {
    this.#makeRoom(mark, page);
    const end = this.#endOf(mark, page);
    const rows = page.rows.map((row) => later(this.#held.get(row.id) ?? row, row));
    for (const gone of this.#rows.splice(mark.at, end - mark.at, ...rows)) this.#held.delete(gone.id);
    for (const row of rows) this.#held.set(row.id, row);
    this.#marks = this.#marks.filter((other) => other.at <= mark.at || other.at >= end);
    for (const other of this.#marks) if (other.at > mark.at) other.at += rows.length - (end - mark.at);
    mark.stale = false;
    this.#started = true;
    if (page.next === null) this.#finish(mark);
    else this.#goOn(mark.at + rows.length, page.next, rows.length >= limit);
  }

  /** A row as it is now: in its place, or nowhere when that place is not loaded yet. */
  put(row: Row): void {
    const held = this.#held.get(row.id);
    const now = held === undefined ? row : later(held, row);
    if (held !== undefined && compare(held, now) === 0) {
      this.#rows[this.#rows.indexOf(held)] = now;
      this.#held.set(now.id, now);
      return;
    }
    if (held !== undefined) this.drop(row.id);
    if (this.reaches(now)) this.#insert(placeOf(now, this.#rows), now);
  }

  /** A held row changed where it stands: whether it belongs elsewhere is decided later. */
  patch(id: string, change: (row: Row) => Row): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    const now = change(held);
    this.#rows[this.#rows.indexOf(held)] = now;
    this.#held.set(id, now);
  }

  drop(id: string): void {
    const index = this.indexOf(id);
    if (index < 0) return;
    this.#rows.splice(index, 1);
    this.#held.delete(id);
    for (const mark of this.#marks) if (mark.at > index) mark.at -= 1;
  }

  /** Whether a row with this place would be among the loaded ones. */
  reaches(place: Place): boolean {
    if (this.#ended) return true;
    const last = this.#rows.at(-1);
    return last !== undefined && compare(place, last) < 0;
  }

  /** All pages may be out of date: each is read again when it is seen. */
  spoil(): void {
    for (const mark of this.#marks) mark.stale = true;
  }

  /** The first page among these rows that is out of date. */
  staleAmong(first: number, last: number): Mark | undefined {
    return this.#marks.find((mark, index) => {
      const end = this.#marks[index + 1]?.at ?? Number.POSITIVE_INFINITY;
      return mark.stale && mark.at < Math.max(last, first + 1) && end > first;
    });
  }

  /** Rows of the page that are held elsewhere, because they moved, leave that place. */
  #makeRoom(mark: Mark, page: Page): void {
    const inside = new Set(this.#rows.slice(mark.at, this.#endOf(mark, page)).map((row) => row.id));
    for (const row of page.rows) if (this.#held.has(row.id) && !inside.has(row.id)) this.drop(row.id);
  }

  /** How far a page read from `mark` on reaches in the rows held. */
  #endOf(mark: Mark, page: Page): number {
    const last = page.rows.at(-1);
    if (page.next === null) return this.#rows.length;
    return last === undefined ? mark.at : Math.max(mark.at, placeOf(last, this.#rows));
  }

  #insert(index: number, row: Row): void {
    this.#rows.splice(index, 0, row);
    this.#held.set(row.id, row);
    for (const mark of this.#marks) if (mark.at > index) mark.at += 1;
  }

  /** After a renewed page comes `cursor`: what is held beyond it was not read again. */
  #goOn(at: number, cursor: string, exact: boolean): void {
    const tail = at === this.#rows.length;
    if (tail) {
      this.#next = cursor;
      this.#ended = false;
    }
    this.#marks = this.#marks.filter((mark, index) => mark.at !== at || index === 0);
    if (!exact) return;
    const place = this.#marks.findIndex((mark) => mark.at > at);
    this.#marks.splice(place < 0 ? this.#marks.length : place, 0, { at, cursor, stale: !tail });
  }

  #finish(mark: Mark): void {
    this.#marks = this.#marks.slice(0, this.#marks.indexOf(mark) + 1);
    this.#next = null;
    this.#ended = true;
  }
}
