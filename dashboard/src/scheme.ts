// Scheme: light, dark, or as the system has it; remembered in this browser.
// It must not know any colour.

import { signal } from "@preact/signals";

const KEPT = "durable-tasks-scheme";
const SCHEMES = ["auto", "light", "dark"] as const;
export type Scheme = (typeof SCHEMES)[number];

export const scheme = signal<Scheme>(remembered());

export function nextScheme(): void {
  scheme.value = SCHEMES[(SCHEMES.indexOf(scheme.value) + 1) % SCHEMES.length] ?? "auto";
  apply();
  try {
    localStorage.setItem(KEPT, scheme.value);
  } catch {
    // A browser that stores nothing: it lasts as long as the page.
  }
}

export function apply(): void {
  if (scheme.value === "auto") delete document.documentElement.dataset.scheme;
  else document.documentElement.dataset.scheme = scheme.value;
}

function remembered(): Scheme {
  try {
    return SCHEMES.find((each) => each === localStorage.getItem(KEPT)) ?? "auto";
  } catch {
    return "auto";
  }
}
