// Keys: what the keyboard does on the page that is open, and the list of it for who asks.
// It must not know what the actions are.

import { signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";

export interface Key {
  /** As KeyboardEvent.key says it. */
  key: string;
  /** What it does, for the list; without it the key is an alias that is not listed. */
  does?: string;
  act: (event: KeyboardEvent) => void;
}

interface Keys {
  keys: readonly Key[];
  everywhere: boolean;
}

const KEPT = "durable-tasks-letters";

const sets = signal<readonly Keys[]>([]);

/** Whether letters, digits and signs alone do something. Who speaks to a computer, or trembles, can do without. */
export const areLetters = signal(remembered());

export function switchLetters(): void {
  areLetters.value = !areLetters.value;
  try {
    localStorage.setItem(KEPT, String(areLetters.value));
  } catch {
    // A browser that stores nothing: it lasts as long as the page.
  }
}

function remembered(): boolean {
  try {
    return localStorage.getItem(KEPT) !== "false";
  } catch {
    return true;
  }
}

/** Everything that can be pressed now, in the order in which it is looked for. */
export const listed = () => known(sets.value).filter((key) => key.does);

/** Those of the page before those of every page; of several, those that came last. */
function known(all: readonly Keys[]): readonly Key[] {
  const newest = all.toReversed();
  return [...newest.filter((set) => !set.everywhere), ...newest.filter((set) => set.everywhere)].flatMap(
    (set) => set.keys,
  );
}

/** Makes `keys` work while the component is shown. The newest component that wants a key has it. */
export function useKeys(keys: readonly Key[], { everywhere = false } = {}): void {
  const latest = useRef(keys);
  latest.current = keys;
  const names = keys.map((key) => key.key + (key.does ?? "")).join();
  // Only the names: the actions are looked up when they are wanted. Before it is painted: a key works once it is seen.
  useLayoutEffect(() => {
    const live = keys.map((each, at): Key => ({ ...each, act: (event) => latest.current[at]?.act(event) }));
    const mine = { keys: live, everywhere };
    sets.value = [...sets.peek(), mine];
    return () => {
      sets.value = sets.peek().filter((set) => set !== mine);
    };
  }, [names]);
}

export function listen(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]") || (isTyped(event.target) && event.key !== "Escape")) return;
    if (event.key.length === 1 && !areLetters.peek()) return;
    const found = known(sets.peek()).find((key) => key.key === event.key);
    if (!found || isItsOwn(event)) return;
    event.preventDefault();
    found.act(event);
  });
}

/** Where letters are text. */
function isTyped(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement)
    return !["checkbox", "radio", "button", "submit"].includes(target.type);
  return (
    target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable
  );
}

/** Whether the key means something where the cursor is: Enter presses, arrows choose and scroll. */
function isItsOwn({ key, target }: KeyboardEvent): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (key === "Enter") return target.closest("a,button,summary,label") !== null;
  return key.startsWith("Arrow") && target.matches("input,pre,section[tabindex]");
}
