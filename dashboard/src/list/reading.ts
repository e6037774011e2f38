// Reading a list page by page: ahead of the reader, one request at a time, and again what has become stale in sight.
// It must not know the API nor the page: what it asks for and whom it tells are given.

import { Listing, type Page } from "./listing";
import type { Range } from "./window";

export const PAGE = 100;
export const LARGEST = 500;
/** Rows beyond what is seen that are fetched before they are needed. */
export const AHEAD = 150;
/** More than this is not listed: the reader narrows the filter. It keeps the tab's memory bounded. */
export const MOST = 50_000;
const FRUITLESS = 20;

export type Ask = (cursor: string | null, limit: number, signal: AbortSignal) => Promise<Page>;

export interface Told {
  /** Rows changed. */
  changed(): void;
  /** A request failed; it is repeated when `retry` is called or something else is to be read. */
  failed(error: unknown): void;
}

export class Reading {
  readonly listing = new Listing();
  #seen: Range = { first: 0, last: 0 };
  #working: Promise<void> | null = null;
  readonly #stop = new AbortController();

  constructor(
    private readonly ask: Ask,
    private readonly told: Told,
  ) {}

  /** These rows are in sight. Resolves when they, and some beyond, are loaded and fresh. */
  see(range: Range): Promise<void> {
    this.#seen = range;
    return this.#work();
  }

  /** Read again what is in sight, and the rest when it comes into sight. */
  again(): Promise<void> {
    this.listing.spoil();
    return this.#work();
  }

  retry(): Promise<void> {
    return this.#work();
  }

  close(): void {
    this.#stop.abort();
  }

  #work(): Promise<void> {
    this.#working ??= this.#drain().finally(() => {
      this.#working = null;
    });
    return this.#working;
  }

  async #drain(): Promise<void> {
    try {
      while (!this.#stop.signal.aborted && (await this.#step())) this.told.changed();
    } catch (error) {
      if (!this.#stop.signal.aborted) this.told.failed(error);
    }
  }

  /** One request, if one is needed. */
  async #step(): Promise<boolean> {
    const { first, last } = this.#seen;
    const stale = this.listing.started ? this.listing.staleAmong(first, last) : undefined;
    if (stale !== undefined) {
      const limit = bounded(Math.min(last, this.listing.rows.length) - stale.at + PAGE / 2);
      const page = await this.#full(stale.cursor, limit);
      if (!this.#stop.signal.aborted) this.listing.renew(stale, page, limit);
      return true;
    }
    const missing = Math.min(last + AHEAD, MOST) - this.listing.rows.length;
    if (this.listing.ended || (this.listing.started && missing <= 0)) return false;
    // The first page brings what is seen and little more: it is what the reader waits for.
    const limit = bounded(this.listing.started ? missing : last);
    const page = await this.ask(this.listing.next, limit, this.#stop.signal);
    if (!this.#stop.signal.aborted) this.listing.append(page, limit);
    return true;
  }

  /** A page with all it can hold: the server ends one early when it had to look at too many rows. */
  async #full(cursor: string | null, limit: number): Promise<Page> {
    let page = await this.ask(cursor, limit, this.#stop.signal);
    for (let tries = 0; page.next !== null && page.rows.length < limit && tries < FRUITLESS; tries++) {
      const more = await this.ask(page.next, limit - page.rows.length, this.#stop.signal);
      page = { rows: [...page.rows, ...more.rows], next: more.next };
    }
    return page;
  }
}

function bounded(wanted: number): number {
  return Math.max(PAGE, Math.min(LARGEST, Math.ceil(wanted)));
}
