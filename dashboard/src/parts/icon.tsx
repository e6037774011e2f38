// Icon: the drawings that stand beside words, 16 × 16, in the colour of the text.
// It must not know what they are used for.

const PATHS = {
  inbox: "M2.5 9.5h3l1 1.75h3l1-1.75h3M3.6 3.5h8.8l1.1 6v3h-11v-3z",
  tasks: "M6 4h7.5M6 8h7.5M6 12h7.5M2.6 4h.6M2.6 8h.6M2.6 12h.6",
  board: "M2.75 3h2.5v10h-2.5zM6.75 3h2.5v6.5h-2.5zM10.75 3h2.5v8h-2.5z",
  workflows: "M2.5 6.25h3.5v3.5H2.5zM10 2.5h3.5V6H10zM10 10h3.5v3.5H10zM6 8h2V4.25h2M8 8v3.75h2",
  operations: "M2 8.5h2.5L6.5 3l3 10 2-4.5H14",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.3 10.3 13.5 13.5",
  sun: "M8 10.75a2.75 2.75 0 1 0 0-5.5 2.75 2.75 0 0 0 0 5.5zM8 1.75v1M8 13.25v1M1.75 8h1M13.25 8h1M3.6 3.6l.7.7M11.7 11.7l.7.7M3.6 12.4l.7-.7M11.7 4.3l.7-.7",
  moon: "M13 9.6A5.5 5.5 0 0 1 6.4 3a5.5 5.5 0 1 0 6.6 6.6z",
  auto: "M8 13.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11zM8 2.5v11M10 3v10M12 4.5v7",
  keyboard: "M1.75 4h12.5v8H1.75zM4 6.5h.5M6.5 6.5h.5M9 6.5h.5M11.5 6.5h.5M5 9.5h6",
  leave: "M9.5 5V2.75H2.75v10.5H9.5V11M6.5 8h7M11 5.5 13.5 8 11 10.5",
  close: "M4 4l8 8M12 4l-8 8",
  check: "M3.25 8.5 6.5 11.75 12.75 4.5",
  cross: "M4.75 4.75l6.5 6.5M11.25 4.75l-6.5 6.5",
  slash: "M4.5 11.5l7-7",
  lock: "M4 7.5h8v5.5H4zM5.5 7.5V5.25a2.5 2.5 0 0 1 5 0V7.5",
  clock: "M8 13.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11zM8 5v3.25l2 1.5",
  again: "M13 3.5V6.5H10M12.7 6.3A5 5 0 1 0 13 9",
  person: "M8 7.75a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM3.25 13.25c.4-2.3 2.2-3.5 4.75-3.5s4.35 1.2 4.75 3.5",
  people:
    "M6 7.5a2.25 2.25 0 1 0 0-4.5 2.25 2.25 0 0 0 0 4.5zM1.75 13c.35-2.2 1.9-3.25 4.25-3.25S9.9 10.8 10.25 13M10.5 3.2a2.25 2.25 0 0 1 0 4.2M12 10c1.3.5 2 1.5 2.25 3",
  play: "M5.5 3.75v8.5L12 8z",
  pause: "M6 4v8M10 4v8",
  chevron: "M6 3.75 10.25 8 6 12.25",
  back: "M13 8H3.5M7.25 4 3.25 8l4 4",
  out: "M6.5 3.5h-3v9h9v-3M9 3h4v4M12.75 3.25 7.5 8.5",
  comment: "M2.75 3h10.5v7.5h-6L4.5 13v-2.5H2.75z",
  file: "M4 2.5h5.25L12 5.25v8.25H4zM9 2.75V5.5h2.75",
  alert: "M8 2.75 14 13H2zM8 6.75v3M8 11.4v.1",
  plus: "M8 3.25v9.5M3.25 8h9.5",
  minus: "M3.25 8h9.5",
  whole: "M2.75 5.75v-3h3M10.25 2.75h3v3M13.25 10.25v3h-3M5.75 13.25h-3v-3M6 6.5h4v3H6z",
  more: "M3.5 8h.6M7.7 8h.6M11.9 8h.6",
  filter: "M2.5 4h11M4.5 8h7M6.5 12h3",
  copy: "M5.5 5.5h7.75v7.75H5.5zM10.5 5.25v-2.5H2.75v7.75H5.25",
  flag: "M3.75 14V2.75h8l-1.5 2.75 1.5 2.75h-8",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({
  name,
  size = 16,
  class: extra = "",
}: {
  name: IconName;
  size?: number;
  class?: string;
}) {
  return (
    <svg
      class={`icon ${extra}`}
      width={size}
      height={size}
      viewBox="0 0 16 16"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
