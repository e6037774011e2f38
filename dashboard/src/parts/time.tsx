// Time: a moment, said relative to now and kept so, with the full date for who points at it.
// It must not know what happened then.

import { duration, full, now, relative } from "../time";

interface AtProps {
  at: string;
  /** Before the words, such as "due". */
  before?: string;
}

export function Ago({ at, before }: AtProps) {
  const time = Date.parse(at);
  return (
    <time dateTime={at} title={full(time)}>
      {before && `${before} `}
      {relative(time, now.value)}
    </time>
  );
}

/** When it is due, and a mark that does not rely on colour once that is over. */
export function Due({ at }: { at: string }) {
  const time = Date.parse(at);
  const late = time < now.value;
  return (
    <time dateTime={at} title={full(time)} class={late ? "due overdue" : isSoon(time) ? "due soon" : "due"}>
      {late ? `overdue by ${calm(now.value - time)}` : `due in ${calm(time - now.value)}`}
    </time>
  );
}

/** Whole minutes, until seconds count. */
function calm(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  return duration(seconds < 60 ? seconds : seconds - (seconds % 60));
}

const isSoon = (time: number) => time - now.value < 3_600_000;

/** How long from `from` to `to`; still counting while `to` is null. */
export function Lasted({ from, to }: { from: string; to: string | null }) {
  const end = to === null ? now.value : Date.parse(to);
  const seconds = Math.max(0, (end - Date.parse(from)) / 1000);
  return <span class="number">{duration(to === null ? Math.floor(seconds) : seconds)}</span>;
}
