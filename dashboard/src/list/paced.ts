// Work that is wanted again and again and done at most so often, one at a time.
// It must not know what the work is. Time comes through a port, so tests need not wait.

export interface Timer {
  after(milliseconds: number, act: () => void): () => void;
  now(): number;
}

export const BROWSER_TIMER: Timer = {
  after(milliseconds, act) {
    const id = setTimeout(act, milliseconds);
    return () => clearTimeout(id);
  },
  now: () => performance.now(),
};

export class Paced {
  #wanted: number | null = null;
  #busy = false;
  #closed = false;
  #done = Number.NEGATIVE_INFINITY;
  #cancel: () => void = () => undefined;

  /** `act` handles its own failures. */
  constructor(
    private readonly act: () => Promise<void>,
    private readonly timer: Timer = BROWSER_TIMER,
  ) {}

  /** Do it, no sooner than `pace` milliseconds after it was done last. */
  soon(pace: number): void {
    this.#wanted = Math.max(pace, this.#wanted ?? 0);
    if (this.#busy || this.#closed) return;
    this.#cancel();
    const due = this.#done + this.#wanted - this.timer.now();
    this.#cancel = this.timer.after(Math.max(0, due), () => void this.#run());
  }

  close(): void {
    this.#closed = true;
    this.#cancel();
  }

  async #run(): Promise<void> {
    this.#wanted = null;
    this.#busy = true;
    try {
      await this.act();
    } finally {
      this.#busy = false;
      this.#done = this.timer.now();
      if (this.#wanted !== null) this.soon(this.#wanted);
    }
  }
}
