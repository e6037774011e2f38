// Time: moments and durations as people say them, and a clock that components can follow.
// It must not know what happens at any of the moments.

import { signal } from "@preact/signals";

/** Milliseconds by which the server's clock is ahead. All times are its, so "now" is too. */
let ahead = 0;
const TOLERATED = 2000;

/** Takes over the server's clock from the header Date of an answer, which is cut to the second. */
export function noteClock(date: string | null): void {
  const found = Date.parse(date ?? "") + 500 - Date.now();
  if (Number.isNaN(found) || Math.abs(found - ahead) < TOLERATED) return;
  ahead = Math.abs(found) < TOLERATED ? 0 : found;
  now.value = present();
}

/** This moment, by the server's clock. */
export const present = () => Date.now() + ahead;

/** Now, to the second. Read in a component, it is drawn again each second; while the page is hidden it rests. */
export const now = signal(present());

export function startClock(): void {
  const tick = () => {
    if (document.visibilityState === "visible") now.value = present();
  };
  setInterval(tick, 1000);
  document.addEventListener("visibilitychange", tick);
}

const UNITS: readonly [seconds: number, name: string][] = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/** "850 ms", "12 s", "4 min 10 s", "3 h 20 min", "2 d 4 h": two units at most. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 1) return `${Math.round(size * 1000)} ms`;
  if (size < 10) return `${size.toFixed(1).replace(/\.0$/, "")} s`;
  const whole = Math.round(size);
  const at = UNITS.findIndex(([unit]) => whole >= unit);
  const [unit, name] = UNITS[at] ?? [1, "s"];
  const [lesser, lesserName] = UNITS[at + 1] ?? [0, ""];
  const left = lesser ? Math.floor((whole % unit) / lesser) : 0;
  return `${Math.floor(whole / unit)} ${name}${left ? ` ${left} ${lesserName}` : ""}`;
}

/** The largest unit alone: "4 min". */
export function roughly(seconds: number): string {
  const size = Math.abs(seconds);
  if (size < 1) return "0 s";
  const [unit, name] = UNITS.find(([each]) => size >= each) ?? [1, "s"];
  return `${Math.floor(size / unit)} ${name}`;
}

/** "just now", "4 min ago", "in 2 h". */
export function relative(at: number, from: number): string {
  const seconds = (at - from) / 1000;
  if (Math.abs(seconds) < 5) return "just now";
  return seconds < 0 ? `${roughly(seconds)} ago` : `in ${roughly(seconds)}`;
}

const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** Date and time in full, in the reader's own zone and language. */
export const full = (at: number) => FULL.format(at);

/** The hour today, else the day too. */
export function moment(at: number, from: number): string {
  const today = new Date(from).toDateString() === new Date(at).toDateString();
  return today ? CLOCK.format(at) : `${DAY.format(at)}, ${CLOCK.format(at)}`;
}
