// Loaded: a value that a page reads from the server, read anew when something happens to it.
// It must not know what is read.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { isPassing } from "./api";
import type { Event } from "./described";
import { connected, epoch, onEvents } from "./live";

/** Milliseconds between two readings. */
const PAUSE = 200;
const PAUSE_IN_TROUBLE = 2500;

export interface Loaded<T> {
  /** What was read last; it stays while it is read anew. Undefined: nothing yet. */
  value: T | undefined;
  /** Why the last reading failed. */
  error: unknown;
  reload: () => void;
  /** Shows `value` at once: the answer of a command knows it already. */
  put: (value: T) => void;
}

/** Reads with `load` at first, whenever `inputs` change, and whenever an event is one that `concerns` it. At most
 * one reading is under way; what happens meanwhile leads to one more. */
export function useLoaded<T>(
  load: (signal: AbortSignal) => Promise<T>,
  inputs: readonly unknown[],
  concerns: (event: Event) => boolean = () => false,
): Loaded<T> {
  const [state, setState] = useState<{ value?: T; error?: unknown }>({});
  const latest = useRef({ load, concerns });
  latest.current = { load, concerns };
  /** Whether what happened since the reading began may have been missed. */
  const blind = useRef(false);
  const reading = useRef<{ again: boolean; ended: AbortController } | null>(null);

  const reload = useCallback(() => {
    if (reading.current) {
      reading.current.again = true;
      return;
    }
    const mine = { again: false, ended: new AbortController() };
    reading.current = mine;
    blind.current = !connected.peek();
    const done = (found: { value?: T; error?: unknown }) => {
      if (mine.ended.signal.aborted) return;
      setState((old) => ({ value: old.value, ...found }));
      // Until the pause is over whatever happens leads to one more reading only.
      const passing = isPassing(found.error);
      setTimeout(
        () => {
          if (mine.ended.signal.aborted) return;
          reading.current = null;
          if (mine.again || passing) reload();
        },
        passing ? PAUSE_IN_TROUBLE : PAUSE,
      );
    };
    latest.current.load(mine.ended.signal).then(
      (value) => done({ value, error: undefined }),
      (error) => done({ error }),
    );
  }, []);

  const put = useCallback((value: T) => {
    setState({ value });
    if (!reading.current) return;
    // What is being read may be older than this.
    reading.current.ended.abort();
    reading.current = null;
    reload();
  }, []);
  const generation = epoch.value;
  const live = connected.value;
  useEffect(() => {
    if (live && blind.current) reload();
  }, [live, reload]);
  useEffect(() => {
    setState({});
    reload();
    return () => {
      reading.current?.ended.abort();
      reading.current = null;
    };
  }, [...inputs]);
  const read = useRef(generation);
  useEffect(() => {
    if (read.current !== generation) reload();
    read.current = generation;
  }, [generation, reload]);
  useEffect(
    () => onEvents((events) => events.some((event) => latest.current.concerns(event)) && reload()),
    [reload],
  );
  return { value: state.value, error: state.error, reload, put };
}
