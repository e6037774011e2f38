// Live: the organisation's events as they happen, each once and in order, across sleep, lost networks and restarts.
// It must not know what the events mean, nor what a page does with them.

import { signal } from "@preact/signals";
import { BASE, identity } from "./api";
import type { Event } from "./described";
import { SseReader } from "./sse";

/** Milliseconds that events are gathered before pages hear of them: a burst is drawn once. */
const FLUSH_AFTER = 60;
/** The server speaks at least every 15 s: after this long the connection is dead, whatever the network says. */
const SILENT_FOR = 40_000;
/** Silence after which a page that comes back to the front does not trust its connection. */
const STALE_FOR = 20_000;
const LONGEST_PAUSE = 4_000;
/** After this long a page that nobody sees lets go of its connection: a browser has six for all pages of one server. */
const UNSEEN_FOR = 5_000;
/** After this long what was missed is not told event by event, however much it was: all is read anew. */
const LONGEST_ABSENCE = 10 * 60_000;

export type Listener = (events: readonly Event[]) => void;

/** Whether what is shown is what happens now. */
export const connected = signal(false);
/** Counts how often events may have been missed for good: what is shown must then be read anew. */
export const epoch = signal(0);

const listeners = new Set<Listener>();
let gathered: Event[] = [];
let last: number | null = null;
let heard = 0;
let caughtUp = 0;
let missed = false;
let running: AbortController | null = null;
let connection: AbortController | null = null;
let wake: () => void = () => undefined;

/** Tells `listener` of every batch of events until the returned function is called. */
export function onEvents(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Follows the events from now on, until `stop`. */
export function start(): void {
  if (running) return;
  running = new AbortController();
  const { signal: ended } = running;
  let unseen: ReturnType<typeof setTimeout> | undefined;
  const look = () => {
    clearTimeout(unseen);
    if (!isSeen()) unseen = setTimeout(() => connection?.abort(), UNSEEN_FOR);
    else if (Date.now() - heard > STALE_FOR) reconnect();
    else wake();
  };
  document.addEventListener("visibilitychange", look, { signal: ended });
  document.addEventListener("resume", look, { signal: ended });
  addEventListener("online", reconnect, { signal: ended });
  addEventListener("offline", () => connection?.abort(), { signal: ended });
  void follow(ended);
}

export function stop(): void {
  running?.abort();
  connection?.abort();
  wake();
  running = null;
  last = null;
  missed = false;
  gathered = [];
  connected.value = false;
}

const isSeen = () => document.visibilityState === "visible";

function reconnect(): void {
  connection?.abort();
  wake();
}

async function follow(ended: AbortSignal): Promise<void> {
  let pause = 0;
  while (!ended.aborted) {
    while (!isSeen() && !ended.aborted) await rest(LONGEST_ABSENCE);
    const begun = Date.now();
    const status = await listen();
    connected.value = false;
    if (ended.aborted || status === 401) return;
    // A stream that ended in good order comes back at once; one that is refused waits longer each time.
    pause =
      status === 200 && Date.now() - begun > 1000 ? 100 : Math.min(Math.max(pause * 2, 300), LONGEST_PAUSE);
    await rest(pause * (0.75 + Math.random() / 2));
  }
}

function rest(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

/** One connection, to its end. The status with which it was answered; 0: nobody answered. */
async function listen(): Promise<number> {
  connection = new AbortController();
  const { signal: aborted } = connection;
  const silence = setInterval(() => {
    if (Date.now() - heard > SILENT_FOR) connection?.abort();
  }, 5000);
  let status = 0;
  try {
    heard = Date.now();
    if (last !== null && heard - caughtUp > LONGEST_ABSENCE) {
      last = null;
      missed = true;
    }
    const headers: Record<string, string> = { accept: "text/event-stream", ...identity.headers() };
    if (last !== null) headers["last-event-id"] = String(last);
    const response = await fetch(`${BASE}events/stream`, { headers, signal: aborted, cache: "no-store" });
    status = response.status;
    if (status === 401) identity.rejected(headers);
    if (response.ok && response.body) await take(response.body);
  } catch (error) {
    if (!(error instanceof TypeError || (error instanceof DOMException && error.name === "AbortError")))
      console.warn("events:", error);
  } finally {
    clearInterval(silence);
  }
  return status;
}

async function take(body: ReadableStream<Uint8Array>): Promise<void> {
  const reader = body
    .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
    .getReader();
  const sse = new SseReader();
  let first = true;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard = Date.now();
    caughtUp = heard;
    for (const message of sse.push(value)) {
      const id = Number(message.id);
      const restored = first && last !== null && id < last; // the file was: these numbers mean other events
      last = id;
      if (restored || missed) epoch.value++;
      missed = false;
      first = false;
      if (message.data) gather(JSON.parse(message.data) as Event);
    }
    connected.value = true;
  }
}

function gather(event: Event): void {
  if (gathered.push(event) === 1) setTimeout(flush, FLUSH_AFTER);
}

function flush(): void {
  const events = gathered;
  gathered = [];
  if (events.length) for (const listener of [...listeners]) listener(events);
}
