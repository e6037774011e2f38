// Session: who is signed in, by a token of their own or by the identity that the host application knows.
// It must not know what anybody may do on the server: it hides, the server decides.

import { signal } from "@preact/signals";
import { call, identity, Refused, Unreachable } from "./api";
import type { Me } from "./described";

const KEPT = "durable-tasks-token";
const ROLES = ["viewer", "agent", "operator", "admin"] as const;
export type Role = (typeof ROLES)[number];

/** Who asks; null while that is not known. */
export const me = signal<Me | null>(null);
/** asking: the server has not answered yet; away: it does not answer; out: it wants proof of who asks; barred: it knows
 * who asks, and lets them see nothing. */
export const standing = signal<"asking" | "away" | "in" | "out" | "barred">("asking");
/** Why the last attempt to sign in, or to look, was refused. */
export const rejection = signal<string | null>(null);

let token = kept();

identity.headers = (): Record<string, string> => (token ? { authorization: `Bearer ${token}` } : {});
identity.rejected = (headers) => {
  if (headers.authorization !== identity.headers().authorization) return; // of the one who was here before
  if (standing.value === "in") rejection.value = "Your sign-in is not accepted any more. Sign in again.";
  me.value = null;
  standing.value = "out";
};

/** Whether the one who is signed in may do what needs `role`. Read in a component, it is followed. */
export function may(role: Role): boolean {
  const needed = ROLES.indexOf(role);
  return me.value?.roles.some((own) => ROLES.indexOf(own as Role) >= needed) ?? false;
}

/** Whether `name` is the one who is signed in. */
export function isMe(name: string | null | undefined): boolean {
  return name !== null && name !== undefined && name === me.value?.subject;
}

/** Whether a task reserved for `name` is reserved for me: myself, or a group of mine. */
export function isMineToTake(name: string | null): boolean {
  if (name === null || isMe(name)) return true;
  return me.value?.groups.some((group) => name === `group:${group}`) ?? false;
}

export const hasToken = () => token !== null;

/** Asks the server who we are; until it answers, again and again. */
export async function begin(): Promise<void> {
  for (let pause = 500; ; pause = Math.min(pause * 2, 8000)) {
    try {
      me.value = await call("get_me");
      standing.value = "in";
      rejection.value = null;
      return;
    } catch (error) {
      if (error instanceof Refused && error.status < 500) return refuse(error);
      if (!(error instanceof Unreachable || error instanceof Refused)) throw error;
      standing.value = "away";
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

export async function signIn(given: string): Promise<void> {
  keep(given.trim());
  standing.value = "asking";
  await begin();
}

export function signOut(): void {
  keep(null);
  me.value = null;
  rejection.value = null;
  standing.value = "out";
}

function refuse(error: Refused): void {
  rejection.value = token !== null || error.status !== 401 ? error.detail : null;
  me.value = null;
  standing.value = error.status === 403 ? "barred" : "out";
}

// In the tab's own storage: it is gone with the tab, and no other page reads it.
function kept(): string | null {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

function keep(value: string | null): void {
  token = value;
  try {
    if (value === null) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, value);
  } catch {
    // A browser that stores nothing: the token lives as long as the page.
  }
}
