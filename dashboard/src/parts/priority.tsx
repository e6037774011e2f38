// Priority: low, normal, high, urgent as one to four bars and a word.
// It must not know what is done first.

import type { Priority as Level } from "../described";

export const PRIORITIES = ["low", "normal", "high", "urgent"] as const;

/** Normal says nothing unless `always`: what everything has is no news. */
export function Priority({ level, always = false }: { level: Level; always?: boolean }) {
  if (level === 1 && !always) return null;
  const name = PRIORITIES[level];
  return (
    <span class={`priority priority-${name}`} title={`${name} priority`}>
      <svg width="14" height="14" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
        {[0, 1, 2, 3].map((bar) => (
          <rect
            key={bar}
            class={bar <= level ? "on" : "off"}
            x={1.5 + bar * 3.5}
            y={11 - bar * 3}
            width="2.5"
            height={3 + bar * 3}
            rx="0.8"
          />
        ))}
      </svg>
      {name}
    </span>
  );
}
