// Drafts: what somebody has typed and not sent yet, kept in this tab across reloads.
// It must not know what was typed.

import { me } from "./session";

const PREFIX = "durable-tasks-draft";
const LARGEST = 500_000;

const key = (of: string) => `${PREFIX}/${me.peek()?.org}/${me.peek()?.subject}/${of}`;

export function draft<T>(of: string): T | undefined {
  try {
    const kept = sessionStorage.getItem(key(of));
    return kept === null ? undefined : (JSON.parse(kept) as T);
  } catch {
    return undefined;
  }
}

/** Undefined forgets it. */
export function keepDraft(of: string, value: unknown): void {
  try {
    const text = value === undefined ? undefined : JSON.stringify(value);
    if (text === undefined) sessionStorage.removeItem(key(of));
    else if (text.length <= LARGEST) sessionStorage.setItem(key(of), text);
  } catch {
    // Full, or a browser that stores nothing: the draft lives as long as the page.
  }
}
