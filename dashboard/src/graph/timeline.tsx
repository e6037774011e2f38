// Timeline: the attempts of all members as bars along one axis of time; what runs grows.
// It must not know where the attempts come from.

import type { RefObject } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Workflow } from "../described";
import { useWidth } from "../measured";
import { Button } from "../parts/button";
import { attempt as attempted } from "../parts/toasts";
import { go, href } from "../router";
import { duration, full, present } from "../time";
import { AttemptsTable } from "./attempts";
import { type Bar, extent, type Row, rowsOf } from "./bars";
import { fitMiddle } from "./fit";
import type { Picture } from "./follow";
import { Mark } from "./mark";
import { Switch } from "./switch";
import { ticks } from "./ticks";

interface TimelineProps {
  workflow: Workflow;
  picture: Picture;
  /** Null: all attempts have been read. */
  onMore: (() => Promise<void>) | null;
}

const WAYS = [
  { value: "bars", text: "Bars" },
  { value: "table", text: "Table" },
] as const;

export function Timeline({ workflow, picture, onMore }: TimelineProps) {
  const [way, setWay] = useState<"bars" | "table">("bars");
  const created = Date.parse(workflow.created_at);
  const rows = useMemo(() => rowsOf(picture, created), [picture, created]);
  return (
    <section class="panel" aria-labelledby="timeline-title">
      <header class="panel-head">
        <h2 id="timeline-title">Timeline</h2>
        <Key />
        <Switch label="Show as" ways={WAYS} value={way} onChoose={setWay} />
      </header>
      {way === "bars" ? <Bars rows={rows} created={created} /> : <AttemptsTable rows={rows} />}
      {onMore && (
        <p class="panel-foot">
          <Button small onPress={() => attempted(onMore)}>
            Show more attempts
          </Button>
        </p>
      )}
    </section>
  );
}

function Key() {
  return (
    <ul class="timeline-key">
      <li>
        <svg width="22" height="10" aria-hidden="true">
          <path class="bar-ready" d="M1 5h20" />
        </svg>
        ready
      </li>
      <li>
        <svg width="22" height="10" aria-hidden="true">
          <rect class="bar-held state-claimed" y="1" width="22" height="8" rx="3" />
        </svg>
        claimed
      </li>
      <li>
        <svg width="22" height="10" aria-hidden="true">
          <rect class="bar-run state-completed" y="1" width="22" height="8" rx="3" />
        </svg>
        at work
      </li>
      <li>
        <svg width="22" height="10" aria-hidden="true">
          <path class="bar-again" d="M1 5h20" />
        </svg>
        until the next attempt
      </li>
    </ul>
  );
}

const ROW = 26;
const BAR = 12;
const AXIS = 28;
const LABELS = { wide: 220, narrow: 136 };
const NARROW = 560;
/** So that the newest bar does not touch the edge. */
const RIGHT = 28;
const SHOWN = 15;
const PER_TICK = 96;

function Bars({ rows, created }: { rows: readonly Row[]; created: number }) {
  const frame = useRef<HTMLDivElement>(null);
  const width = useWidth(frame);
  const list = useRef<HTMLElement>(null);
  const [top, setTop] = useState(0);
  const goesOn = rows.some((row) => row.bars.some((bar) => bar.to === null));
  const moment = useMoment(goesOn);
  const { from, to } = extent(rows, created, moment);
  const left = width < NARROW ? LABELS.narrow : LABELS.wide;
  const scale = (width - left - RIGHT) / (to - from);
  const x = (at: number) => left + (at - from) * scale;
  const first = Math.max(0, Math.floor(top / ROW) - 4);
  const shown = rows.slice(first, first + SHOWN + 8);
  const marks = ticks(from, to, Math.max(2, Math.floor((width - left) / PER_TICK)));
  const height = rows.length * ROW + 8;
  const ran = rows.filter((row) => row.began !== null).length;
  const touched = useFollowing(list, goesOn && rows.length > SHOWN ? ran : 0);
  return (
    <div class="timeline" ref={frame}>
      <svg class="timeline-axis" width={width} height={AXIS} aria-hidden="true">
        {marks.map((mark) => (
          <text key={mark.at} x={x(mark.at)} y={18}>
            {mark.text}
          </text>
        ))}
      </svg>
      <section
        ref={list}
        class={rows.length > SHOWN ? "timeline-rows long" : "timeline-rows"}
        tabIndex={rows.length > SHOWN ? 0 : undefined}
        aria-label="Attempts along time"
        onWheel={touched}
        onPointerDown={touched}
        onKeyDown={touched}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      >
        <svg
          width={width}
          height={height}
          role="img"
          aria-label={`${ran} of ${rows.length} tasks have begun, over ${duration((to - from) / 1000)}. The table says the same in words.`}
        >
          {marks.map((mark) => (
            <line key={mark.at} class="timeline-grid" x1={x(mark.at)} x2={x(mark.at)} y1={0} y2={height} />
          ))}
          {shown.map((row, at) => (
            <TimelineRow
              key={row.member.id}
              row={row}
              y={(first + at) * ROW}
              {...{ x, left, width, moment }}
            />
          ))}
          {goesOn && <line class="timeline-now" x1={x(to)} x2={x(to)} y1={0} y2={height} />}
        </svg>
      </section>
    </div>
  );
}

interface TimelineRowProps {
  row: Row;
  y: number;
  x: (at: number) => number;
  left: number;
  width: number;
  moment: number;
}

function TimelineRow({ row, y, x, left, width, moment }: TimelineRowProps) {
  const { member, bars } = row;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: a short cut for the mouse; the tables have the links
    <g class="timeline-row" transform={`translate(0 ${y})`} onClick={() => go(href("tasks", member.id))}>
      <rect class="timeline-hit" width={width} height={ROW} rx={6} />
      <Mark state={member.state} x={8} y={(ROW - 14) / 2} size={14} />
      <text class="timeline-label" x={30} y={ROW / 2 + 4}>
        {fitMiddle(member.title, left - 42, 12.5)}
      </text>
      <title>{member.title}</title>
      {bars.map((bar) => (
        <Drawn
          key={`${bar.kind}${bar.from}`}
          bar={bar}
          from={x(bar.from)}
          to={x(bar.to ?? moment)}
          moment={moment}
        />
      ))}
    </g>
  );
}

const ENDINGS: Readonly<Record<string, string>> = {
  failed: "M-3-3l6 6M3-3l-6 6",
  lost: "M0-4v5M0 3.6v.2",
  cancelled: "M-3 3l6-6",
  released: "M3-3l-4 3 4 3",
};

function Drawn({ bar, from, to, moment }: { bar: Bar; from: number; to: number; moment: number }) {
  const middle = ROW / 2;
  const title = <title>{worded(bar, moment)}</title>;
  if (bar.kind === "ready" || bar.kind === "again") {
    return (
      <g>
        <path class={`bar-${bar.kind}`} d={`M${from} ${middle}H${Math.max(from + 1, to)}`} />
        {title}
      </g>
    );
  }
  const state = bar.attempt?.state ?? "running";
  const long = Math.max(2, to - from);
  const ending = bar.to === null ? undefined : ENDINGS[state];
  return (
    <g class={`bar-${bar.kind} attempt-${state}`}>
      <rect x={from} y={(ROW - BAR) / 2} width={long} height={BAR} rx={Math.min(4, long / 2)} />
      {ending && bar.attempt?.ended_at && Date.parse(bar.attempt.ended_at) === bar.to && (
        <path class="bar-ending" d={ending} transform={`translate(${from + long + 8} ${middle})`} />
      )}
      {title}
    </g>
  );
}

function worded({ kind, from, to, attempt }: Bar, moment: number): string {
  const long = duration(((to ?? moment) - from) / 1000);
  if (kind === "ready") return `ready for ${long}`;
  if (kind === "again") return `${long} until the next attempt`;
  const said = [
    `attempt ${attempt?.number}`,
    kind === "held" ? `claimed, not started, for ${long}` : `${attempt?.state}, ${long}`,
  ];
  if (attempt?.agent_id) said.push(attempt.agent_id);
  if (attempt?.error) said.push([attempt.error.type, attempt.error.message].filter(Boolean).join(": "));
  return `${said.join(" · ")}\n${full(from)}`;
}

/** What began last stays in sight, until somebody scrolls: what it returns is to be called then. */
function useFollowing(list: RefObject<HTMLElement | null>, ran: number): () => void {
  const free = useRef(false);
  useEffect(() => {
    const shown = list.current;
    if (shown && ran && !free.current) shown.scrollTop = (ran + 2) * ROW - shown.clientHeight;
  }, [list, ran]);
  return () => {
    free.current = true;
  };
}

const BEAT = 200;

/** Now, more often than once a second while something grows, and never while nobody looks. */
function useMoment(goesOn: boolean): number {
  const [moment, setMoment] = useState(present());
  useEffect(() => {
    if (!goesOn) return;
    const tick = () => document.visibilityState === "visible" && setMoment(present());
    tick();
    const timer = setInterval(tick, BEAT);
    return () => clearInterval(timer);
  }, [goesOn]);
  return moment;
}
