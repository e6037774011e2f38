// Keys: what the keyboard does on the page that is open, and the list of it for who asks.
// It must not know what the actions are.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

export interface Key {
  /** As KeyboardEvent.key says it. */
  key: string;
  /** What it does, for the list; without it the key is an alias that is not listed. */
  does?: string;
  act: (event: KeyboardEvent) => void;
}

const sets = signal<readonly (readonly Key[])[]>([]);

/** Everything that can be pressed now, the page's own first. */
export const listed = () => sets.value.toReversed().flatMap((set) => set.filter((key) => key.does));

/** Makes `keys` work while the component is shown. The newest component that wants a key has it. */
export function useKeys(keys: readonly Key[]): void {
  const latest = useRef(keys);
  latest.current = keys;
  const names = keys.map((key) => key.key + (key.does ?? "")).join();
  // Only the names: the actions are looked up when they are wanted.
  useEffect(() => {
    const mine = keys.map((each, at): Key => ({ ...each, act: (event) => latest.current[at]?.act(event) }));
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
    for (const set of sets.peek().toReversed()) {
      const found = set.find((key) => key.key === event.key);
      if (!found) continue;
      if (event.key === "Enter" && isPressable(event.target)) return;
      event.preventDefault();
      found.act(event);
      return;
    }
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

/** Where Enter has a meaning of its own. */
function isPressable(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest("a,button,summary,label") !== null;
}
