// Watched: a workflow with its members and attempts, read once and then carried on by the events.
// It must not know what is drawn of it.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { call, isPassing } from "../api";
import type { Attempt, Event, Workflow } from "../described";
import { connected, epoch, onEvents } from "../live";
import { useLoaded } from "../loaded";
import { type Followed, follow, type Picture, pictureOf, withAttempts, withProgress } from "./follow";
import type { Member } from "./plan";

export interface Watched {
  readonly workflow: Workflow | undefined;
  /** As they were read: what they depend on does not change. */
  readonly members: readonly Member[];
  readonly picture: Picture | undefined;
  readonly error: unknown;
  readonly reload: () => void;
  readonly put: (workflow: Workflow) => void;
  /** There are attempts that have not been read. */
  readonly moreAttempts: boolean;
  readonly readAttempts: () => Promise<void>;
}

const PAGE = 1000;

/** All members, which come in several pages when there is much to say of them. */
async function readNodes(path: { workflow_id: string }): Promise<readonly Member[]> {
  const nodes: Member[] = [];
  let cursor: string | undefined;
  do {
    const page = await call("graph_workflow", { path, query: { cursor } });
    nodes.push(...page.nodes);
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
  return nodes;
}

/** Running tasks whose progress is asked for; that of others shows when they report it next. */
const MOST_RUNNING = 50;
/** Milliseconds for which changes that must be read are gathered. */
const GATHER = 250;
/** Milliseconds after which what failed in passing is read again. */
const AGAIN_AFTER = 2500;
/** Attempts whose errors are asked for one by one; of more, only the type is shown. */
const MOST_ASKED = 20;

export function useWatched(id: string): Watched {
  // The shortest way to a workflow without its members: to wait for it, for no time.
  const row = useLoaded(
    async (signal) =>
      (await call("wait_workflow", { path: { workflow_id: id }, query: { timeout: 0 }, signal })).workflow,
    [id],
    (event) => event.workflow_id === id && event.task_id === null,
  );
  const members = useMembers(id);
  return {
    ...members,
    workflow: row.value,
    error: row.error ?? members.error,
    put: row.put,
    reload: () => {
      row.reload();
      members.reload();
    },
  };
}

interface Read {
  readonly members: readonly Member[];
  readonly picture: Picture | undefined;
}

function useMembers(id: string) {
  const [read, setRead] = useState<Read>({ members: [], picture: undefined });
  const [error, setError] = useState<unknown>();
  const [cursor, setCursor] = useState<string | null>(null);
  const latest = useRef<Picture | undefined>(undefined);
  /** What happens while it is read; null: nothing is being read. */
  const meanwhile = useRef<Event[] | null>(null);
  const blind = useRef(false);
  const trial = useRef<ReturnType<typeof setTimeout>>(undefined);
  const leave = () => {
    clearTimeout(trial.current);
    meanwhile.current = null;
  };
  useEffect(() => leave, []);

  const show = useCallback((picture: Picture, members?: readonly Member[]) => {
    latest.current = picture;
    setRead((old) => ({ members: members ?? old.members, picture }));
  }, []);

  const reload = useCallback(async () => {
    const events: Event[] = [];
    meanwhile.current = events;
    blind.current = !connected.peek();
    try {
      const path = { workflow_id: id };
      const [nodes, page, running] = await Promise.all([
        readNodes(path),
        call("list_workflow_attempts", { path, query: { limit: PAGE } }),
        call("list_tasks", { query: { workflow_id: id, state: ["running"], limit: MOST_RUNNING } }),
      ]);
      if (meanwhile.current !== events) return; // it is being read anew already
      const fresh = withProgress(pictureOf(nodes, page.items), running.items);
      const followed = follow(fresh, id, events);
      show(followed.picture, nodes);
      setCursor(page.next_cursor ?? null);
      setError(undefined);
      meanwhile.current = null;
      if (followed.graph) void reload();
    } catch (problem) {
      if (meanwhile.current !== events) return;
      setError(problem);
      clearTimeout(trial.current);
      if (isPassing(problem)) trial.current = setTimeout(() => void reload(), AGAIN_AFTER);
    }
    if (meanwhile.current === events) meanwhile.current = null;
  }, [id, show]);

  const readAttempts = useCallback(async () => {
    if (cursor === null) return;
    const page = await call("list_workflow_attempts", {
      path: { workflow_id: id },
      query: { limit: PAGE, cursor },
    });
    setCursor(page.next_cursor ?? null);
    if (latest.current) show(withAttempts(latest.current, page.items));
  }, [cursor, id, show]);

  const again = epoch.value;
  const live = connected.value;
  // What was read, or could not be, before the events arrive is read again once they do.
  useEffect(() => {
    if (live && blind.current) void reload();
  }, [live, reload]);
  useEffect(() => void reload(), [reload, again]);
  useEffect(() => {
    const errands = new Errands(
      () => void reload(),
      (task) => readErrors(task, latest, show),
    );
    const forget = onEvents((events) => {
      meanwhile.current?.push(...events);
      if (!latest.current) return;
      const followed = follow(latest.current, id, events);
      if (followed.picture !== latest.current) show(followed.picture);
      errands.take(followed);
    });
    return () => {
      forget();
      errands.end();
    };
  }, [id, reload, show]);

  return { ...read, error, reload: () => void reload(), moreAttempts: cursor !== null, readAttempts };
}

/** What events do not tell, asked for once in a while. */
class Errands {
  private graph = false;
  private readonly failed = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly reload: () => void,
    private readonly errors: (task: string) => void,
  ) {}

  take({ graph, failed }: Followed): void {
    this.graph ||= graph;
    for (const task of failed) if (this.failed.size < MOST_ASKED) this.failed.add(task);
    if (this.graph || this.failed.size) this.timer ??= setTimeout(() => this.run(), GATHER);
  }

  end(): void {
    clearTimeout(this.timer);
  }

  private run(): void {
    this.timer = undefined;
    if (this.graph) this.reload();
    else for (const task of this.failed) this.errors(task);
    this.graph = false;
    this.failed.clear();
  }
}

async function readErrors(
  task: string,
  latest: { current: Picture | undefined },
  show: (picture: Picture) => void,
): Promise<void> {
  let items: readonly Attempt[];
  try {
    ({ items } = await call("list_attempts", { path: { task_id: task } }));
  } catch {
    return; // its type is shown all the same
  }
  if (latest.current) show(withAttempts(latest.current, items));
}
