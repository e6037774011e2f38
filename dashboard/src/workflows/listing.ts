// Listing: the workflows that a filter finds, page by page, kept as they are now.
// It must not know how they look.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { call, isPassing } from "../api";
import type { Workflow, WorkflowState } from "../described";
import { connected, epoch, onEvents } from "../live";

export interface Sought {
  readonly state: readonly WorkflowState[];
  readonly text: string;
}

export interface Listing {
  /** Undefined: not read yet. */
  readonly rows: readonly Workflow[] | undefined;
  readonly more: boolean;
  readonly error: unknown;
  readonly readMore: () => Promise<void>;
  readonly reload: () => void;
}

const PAGE = 50;
/** Milliseconds for which changes are gathered: a busy workflow changes many times a second. */
const GATHER = 350;
/** Milliseconds after which what failed in passing is read again. */
const AGAIN_AFTER = 2500;
/** Of those that are not on the first page, so many are asked for by themselves. */
const MOST_ASKED = 8;

interface Read {
  readonly rows?: readonly Workflow[];
  readonly cursor: string | null;
  readonly error?: unknown;
}

export function useWorkflows(sought: Sought): Listing {
  const [read, setRead] = useState<Read>({ cursor: null });
  const latest = useRef(read);
  const key = `${sought.state.join()} ${sought.text} ${epoch.value}`;
  const current = useRef(key);
  current.current = key;
  const show = useCallback((next: Read) => {
    latest.current = next;
    setRead(next);
  }, []);

  const page = (cursor: string | null) =>
    call("list_workflows", {
      query: {
        state: [...sought.state],
        text: sought.text || undefined,
        limit: PAGE,
        cursor: cursor ?? undefined,
      },
    });

  const trial = useRef<ReturnType<typeof setTimeout>>(undefined);
  const leave = () => {
    clearTimeout(trial.current);
    current.current = "";
  };
  useEffect(() => leave, []);
  const blind = useRef(false);
  const reload = useCallback(async () => {
    blind.current = !connected.peek();
    try {
      const { items, next_cursor } = await page(null);
      if (current.current !== key) return;
      const old = latest.current;
      const kept = next_cursor ? tail(old.rows ?? [], items) : [];
      show({ rows: [...items, ...kept], cursor: kept.length ? old.cursor : (next_cursor ?? null) });
    } catch (error) {
      if (current.current !== key) return;
      show({ ...latest.current, error });
      clearTimeout(trial.current);
      if (isPassing(error)) trial.current = setTimeout(() => void reload(), AGAIN_AFTER);
    }
  }, [key, show]);

  const readMore = async () => {
    const { cursor, rows = [] } = latest.current;
    if (cursor === null) return;
    const { items, next_cursor } = await page(cursor);
    if (current.current !== key) return;
    const known = new Set(rows.map((row) => row.id));
    show({ rows: [...rows, ...items.filter((item) => !known.has(item.id))], cursor: next_cursor ?? null });
  };

  useEffect(() => {
    show({ cursor: null });
    void reload();
  }, [reload, show]);
  const live = connected.value;
  useEffect(() => {
    if (live && blind.current) void reload();
  }, [live, reload]);
  useEffect(() => {
    const changed = new Set<string>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const act = async () => {
      const older = (latest.current.rows ?? []).slice(PAGE).filter((row) => changed.has(row.id));
      changed.clear();
      await Promise.all([
        reload(),
        ...older.slice(0, MOST_ASKED).map((row) => refresh(row.id, latest, show)),
      ]);
      timer = undefined;
      if (changed.size) timer = setTimeout(act, GATHER);
    };
    const forget = onEvents((events) => {
      for (const event of events) if (event.workflow_id) changed.add(event.workflow_id);
      if (changed.size) timer ??= setTimeout(act, GATHER);
    });
    return () => {
      forget();
      clearTimeout(timer);
    };
  }, [reload, show]);
  return {
    rows: read.rows,
    more: read.cursor !== null,
    error: read.error,
    readMore,
    reload: () => void reload(),
  };
}

/** Those that were read behind the first page, and still are. */
export function tail(rows: readonly Workflow[], first: readonly Workflow[]): Workflow[] {
  const last = first.at(-1);
  const known = new Set(first.map((row) => row.id));
  return rows.filter((row) => last && !known.has(row.id) && row.created_at <= last.created_at);
}

async function refresh(id: string, latest: { current: Read }, show: (read: Read) => void): Promise<void> {
  try {
    const { workflow } = await call("wait_workflow", { path: { workflow_id: id }, query: { timeout: 0 } });
    const { rows = [], ...rest } = latest.current;
    show({ ...rest, rows: rows.map((row) => (row.id === id ? workflow : row)) });
  } catch {
    // It stays as it was read; the next change asks again.
  }
}
