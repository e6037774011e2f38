// What changed since the lists were read: a few tasks are asked for by name, many make the lists read again what is seen.
// It must not know how lists keep rows, nor what they ask the server.

import { BROWSER_TIMER, Paced, type Timer } from "./paced";

export const MANY = 100;
/** Milliseconds between asking twice: a change is seen well within a second, and a busy server is not asked for each. */
export const PACE = 250;
export const PACE_OF_MANY = 1000;

export interface Readers {
  /** Ask for these tasks, and settle what is said of them. */
  few(ids: string[]): Promise<void>;
  /** Read again what is seen. */
  many(): Promise<void>;
}

export class Changes {
  #pending = new Set<string>();
  #many = false;
  readonly #paced: Paced;

  constructor(
    private readonly readers: Readers,
    timer: Timer = BROWSER_TIMER,
  ) {
    this.#paced = new Paced(() => this.#settle(), timer);
  }

  /** These tasks changed, or may have. */
  add(ids: Iterable<string>): void {
    if (this.#many) return;
    for (const id of ids) this.#pending.add(id);
    if (this.#pending.size > MANY) this.all();
    else if (this.#pending.size > 0) this.#paced.soon(PACE);
  }

  /** More changed than can be named. */
  all(): void {
    this.#pending.clear();
    this.#many = true;
    this.#paced.soon(PACE_OF_MANY);
  }

  close(): void {
    this.#paced.close();
  }

  #settle(): Promise<void> {
    const ids = [...this.#pending];
    const many = this.#many;
    this.#pending.clear();
    this.#many = false;
    return many ? this.readers.many() : this.readers.few(ids);
  }
}
