// Router: which page is open, read from the address after "#" and written there.
// It must not know what the pages show.

import { signal } from "@preact/signals";

export const PAGES = ["inbox", "tasks", "board", "workflows", "operations"] as const;
export type PageName = (typeof PAGES)[number];

export interface Route {
  page: PageName | null;
  /** The task or workflow that is open on the page. */
  id: string | null;
  query: URLSearchParams;
}

export function parse(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [first = "", second] = path.split("/");
  const page = first === "" ? "inbox" : PAGES.find((name) => name === first);
  return { page: page ?? null, id: second ? decoded(second) : null, query: new URLSearchParams(search) };
}

/** What cannot be decoded was no address of ours; it is looked for as it is, and not found. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function href(page: PageName, id?: string | null, query?: URLSearchParams): string {
  const search = query?.toString();
  return `#/${page}${id ? `/${encodeURIComponent(id)}` : ""}${search ? `?${search}` : ""}`;
}

export const route = signal<Route>(parse(typeof location === "undefined" ? "" : location.hash));

export function go(address: string, { replace = false } = {}): void {
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  route.value = parse(location.hash);
}

/** Filters belong to the address, so that they can be sent to somebody and survive a reload. */
export function setQuery(query: URLSearchParams): void {
  const { page, id } = route.value;
  if (page) go(href(page, id, query), { replace: true });
}

export function follow(): void {
  const read = () => {
    route.value = parse(location.hash);
  };
  addEventListener("hashchange", read);
  addEventListener("popstate", read);
}
