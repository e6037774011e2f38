// The tasks of a filter in one or more columns, read as they are scrolled to and kept as they are now.
// It must not know how they are drawn, nor who signs in.

import { effect, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { call, Refused, said } from "../api";
import type { Event, Task, TaskState } from "../described";
import { connected, epoch, onEvents } from "../live";
import { Changes } from "./changes";
import { asked, type Filter } from "./filter";
import { learn } from "./known";
import type { Page } from "./listing";
import { Paced } from "./paced";
import { Reading } from "./reading";
import { patched, type Row, rowOf } from "./row";
import type { Range } from "./window";

/** Milliseconds between counting twice. */
const COUNTING = 1000;
/** Milliseconds after which a refused or unanswered reading is tried again. */
const AGAIN = 2000;
/** Milliseconds that a row in sight stays after it left the filter: the eye sees what became of it. */
const FAREWELL = 300;
/** Milliseconds that a change is marked as new. */
const NEW = 1200;

export interface Counts {
  states: Partial<Record<TaskState, number>>;
  /** False: at least so many. */
  complete: boolean;
}

/** One list: all states, or the column of one. */
export class Column {
  /** Changes when there is something new to draw: once a frame, however much changed. */
  readonly drawing = signal(0);
  readonly #news = new Map<string, number>();
  #version = 0;
  #asked = false;
  readonly leaving = new Set<string>();
  readonly reading: Reading;
  #seen: Range = { first: 0, last: 0 };

  constructor(
    readonly states: readonly TaskState[],
    ask: (
      states: readonly TaskState[],
      cursor: string | null,
      limit: number,
      signal: AbortSignal,
    ) => Promise<Page>,
    failed: (error: unknown) => void,
  ) {
    const changed = () => this.#changed();
    this.reading = new Reading((...given) => ask(states, ...given), { changed, failed });
  }

  /** Counts the changes. */
  get version(): number {
    return this.#version;
  }

  get rows(): readonly Row[] {
    return this.reading.listing.rows;
  }

  takes(state: unknown): boolean {
    return this.states.length === 0 || this.states.includes(state as TaskState);
  }

  see(range: Range): void {
    this.#seen = range;
    void this.reading.see(range);
  }

  /** Whether it changed just now, before the reader's eyes. */
  isNew(id: string): boolean {
    return (this.#news.get(id) ?? Number.NEGATIVE_INFINITY) > performance.now() - NEW;
  }

  hear(id: string, event: Event): void {
    if (event.kind !== "task.progress") this.#mark(id);
    this.reading.listing.patch(id, (row) => patched(row, event));
    this.#changed();
  }

  put(row: Row): void {
    this.leaving.delete(row.id);
    if (this.reading.listing.get(row.id) === undefined) this.#mark(row.id);
    this.reading.listing.put(row);
    this.#changed();
  }

  /** It is not of this list any more. `moved`: it is seen elsewhere, so it need not take its leave here. */
  leave(id: string, moved: boolean): void {
    const index = this.reading.listing.indexOf(id);
    if (index < 0 || this.leaving.has(id)) return;
    if (moved || index < this.#seen.first || index >= this.#seen.last) this.#drop(id);
    else {
      this.leaving.add(id);
      setTimeout(() => this.leaving.has(id) && this.#drop(id), FAREWELL);
    }
    this.#changed();
  }

  #mark(id: string): void {
    if (this.#news.size > 500) this.#news.clear();
    this.#news.set(id, performance.now());
  }

  #drop(id: string): void {
    this.leaving.delete(id);
    this.reading.listing.drop(id);
    this.#changed();
  }

  #changed(): void {
    this.#version++;
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.drawing.value++;
    });
  }
}

export class TaskLists {
  readonly columns: readonly Column[];
  readonly counts: Signal<Counts | null> = signal(null);
  readonly #problem = signal<string | null>(null);
  readonly #changes = new Changes({ few: (ids) => this.#few(ids), many: () => this.#many() });
  readonly #counting = new Paced(() => this.#count());
  readonly #stop = new AbortController();
  readonly #touched = new Set<Column>();
  readonly #during = new Set<string>();
  #flights = 0;
  /** One for all columns that could not be read. */
  #again: ReturnType<typeof setTimeout> | undefined;
  readonly #ends: (() => void)[] = [];

  /** `filter` without states is what all columns have in common; each column names its own. */
  constructor(
    private readonly filter: Filter,
    columns: readonly (readonly TaskState[])[],
  ) {
    const failed = (error: unknown) => this.#failed(error);
    this.columns = columns.map((states) => new Column(states, (...given) => this.#page(...given), failed));
  }

  /** Why what is shown may be old; null while it is not. */
  get problem(): ReadonlySignal<string | null> {
    return this.#problem;
  }

  start(): () => void {
    this.#counting.soon(0);
    this.#ends.push(onEvents((events) => this.#hear(events)));
    let begun = epoch.peek();
    let first = connected.peek();
    this.#ends.push(
      effect(() => {
        // What happened while nobody listened is not told event by event when the list was read before listening began.
        const missed = epoch.value !== begun || (connected.value && !first);
        begun = epoch.value;
        first = connected.value;
        if (missed) this.refresh();
      }),
    );
    return () => this.#end();
  }

  refresh(): void {
    for (const column of this.columns) this.#touched.add(column);
    this.#changes.all();
    this.#counting.soon(0);
  }

  #end(): void {
    this.#stop.abort();
    clearTimeout(this.#again);
    this.#changes.close();
    this.#counting.close();
    for (const column of this.columns) column.reading.close();
    for (const end of this.#ends.splice(0)) end();
  }

  #hear(events: readonly Event[]): void {
    const wanted = new Set<string>();
    for (const event of events) {
      const id = event.task_id;
      if (id === null) continue;
      if (this.#flights > 0) this.#during.add(id);
      if (this.#concerns(id, event)) wanted.add(id);
    }
    this.#changes.add(wanted);
    if (events.some((event) => event.kind !== "task.progress")) this.#counting.soon(COUNTING);
  }

  /** Shows at once what the event tells. Whether the task must be asked for. */
  #concerns(id: string, event: Event): boolean {
    const place = { id, priority: Number(event.data.priority ?? 1) };
    let ask = false;
    for (const column of this.columns) {
      const holds = column.reading.listing.get(id) !== undefined;
      if (holds) column.hear(id, event);
      if (!holds && !(column.takes(event.data.state) && column.reading.listing.reaches(place))) continue;
      this.#touched.add(column);
      ask ||= !holds || event.kind !== "task.progress" || event.data.progress === undefined;
    }
    return ask;
  }

  async #few(ids: string[]): Promise<void> {
    const query = { ...asked(this.filter), ids, limit: ids.length };
    const page = await this.#try(() => call("list_tasks", { query, signal: this.#stop.signal }));
    if (page === null) return;
    const found = new Map(page.items.map((task: Task) => [task.id, rowOf(task)]));
    for (const id of ids) {
      const row = found.get(id);
      const home = row && this.columns.find((column) => column.takes(row.state));
      for (const column of this.columns) {
        if (row && column === home) column.put(row);
        else column.leave(id, home !== undefined);
      }
    }
  }

  async #many(): Promise<void> {
    const touched = [...this.#touched];
    this.#touched.clear();
    await Promise.all(touched.map((column) => column.reading.again()));
  }

  async #page(
    states: readonly TaskState[],
    cursor: string | null,
    limit: number,
    stop: AbortSignal,
  ): Promise<Page> {
    this.#flights++;
    try {
      const query = { ...asked({ ...this.filter, state: [...states] }), limit, cursor };
      const page = await call("list_tasks", { query, signal: stop });
      this.#problem.value = null;
      const rows = page.items.map(rowOf);
      learn(rows);
      return { rows, next: page.next_cursor ?? null };
    } finally {
      this.#flights--;
      // What changed while the page was on its way may be older in the page: those tasks are asked for again.
      if (this.#flights === 0 && this.#during.size > 0) {
        this.#changes.add(this.#during);
        this.#during.clear();
      }
    }
  }

  async #count(): Promise<void> {
    const query = asked({ ...this.filter, state: [] });
    const counted = await this.#try(() => call("count_tasks", { query, signal: this.#stop.signal }));
    if (counted !== null) this.counts.value = { states: counted.counts, complete: counted.complete };
  }

  /** The answer, or null when there was none: then everything is asked again in a while. */
  async #try<Answer>(ask: () => Promise<Answer>): Promise<Answer | null> {
    try {
      const answer = await ask();
      this.#problem.value = null;
      return answer;
    } catch (error) {
      this.#failed(error);
      return null;
    }
  }

  #failed(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    this.#problem.value = said(error);
    if (error instanceof Refused && error.status < 500) return;
    this.#again ??= setTimeout(() => {
      this.#again = undefined;
      this.refresh();
    }, AGAIN);
  }
}
