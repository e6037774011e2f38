// Rates: what was created and how it ended, minute by minute, and how long tasks waited and ran.
// It must not know how that is measured.

import { useRef } from "preact/hooks";
import type { Answer } from "../api";
import { useWidth } from "../measured";
import { StateMark } from "../parts/state";
import { duration, now } from "../time";
import { ceilingOf, ended, lastHour, logShare, MINUTES, type Minute, stacked, totals } from "./columns";

type Activity = Answer<"measure_org">;

export function Rates({ activity }: { activity: Activity }) {
  const minutes = lastHour(activity.minutes, now.value);
  const { created, completed, failed, cancelled } = totals(minutes);
  return (
    <section class="panel" aria-labelledby="rates-title">
      <header class="panel-head">
        <h2 id="rates-title">The last hour</h2>
        <ul class="legend">
          <li>
            <svg class="rate-created-key" width="16" height="10" aria-hidden="true">
              <path d="M1 5h14" />
            </svg>
            <span class="number">{created.toLocaleString()}</span> created
          </li>
          {(
            [
              ["completed", completed],
              ["failed", failed],
              ["cancelled", cancelled],
            ] as const
          ).map(([state, count]) => (
            <li key={state}>
              <StateMark state={state} size={14} />
              <span class="number">{count.toLocaleString()}</span> {state}
            </li>
          ))}
        </ul>
      </header>
      <div class="rates">
        <Columns minutes={minutes} />
        <Latencies activity={activity} />
      </div>
      <details class="panel-more">
        <summary>The numbers</summary>
        <MinutesTable minutes={minutes} />
      </details>
    </section>
  );
}

const HEIGHT = 176;
const FOOT = 18;
const LEFT = 34;

function Columns({ minutes }: { minutes: readonly Minute[] }) {
  const frame = useRef<HTMLDivElement>(null);
  const width = useWidth(frame);
  const ceiling = ceilingOf(minutes);
  const step = (width - LEFT) / MINUTES;
  const foot = HEIGHT - FOOT;
  const top = 8;
  const high = foot - top;
  const y = (count: number) => foot - (count / ceiling) * high;
  const line = minutes.map(
    (minute, at) => `${at ? "L" : "M"}${LEFT + (at + 0.5) * step} ${y(minute.created)}`,
  );
  const { created, completed, failed, cancelled } = totals(minutes);
  const label = `In the last hour ${created} tasks were created, ${completed} completed, ${failed} failed, ${cancelled} cancelled.`;
  return (
    <div class="columns" ref={frame}>
      <svg width={width} height={HEIGHT} role="img" aria-label={label}>
        {[0, ceiling / 2, ceiling].map((count) => (
          <g key={count} class="columns-scale">
            <line x1={LEFT} x2={width} y1={y(count)} y2={y(count)} />
            <text x={LEFT - 8} y={y(count) + 4}>
              {short(count)}
            </text>
          </g>
        ))}
        {minutes.map((minute, at) => (
          <g key={minute.at} transform={`translate(${LEFT + at * step} ${foot})`}>
            {stacked(minute, ceiling, high).map(({ ending, from, to }) => (
              <rect
                key={ending}
                class={`share state-${ending}`}
                x={step * 0.14}
                y={-to}
                width={step * 0.72}
                height={Math.max(1, to - from)}
                rx={Math.min(1.5, step / 5)}
              />
            ))}
            <rect class="columns-hit" y={-high} width={step} height={high}>
              <title>{worded(minute)}</title>
            </rect>
          </g>
        ))}
        <path class="rate-created" d={line.join("")} />
        {[60, 45, 30, 15].map((before) => (
          <text key={before} class="columns-when" x={LEFT + (MINUTES - before + 0.5) * step} y={HEIGHT - 3}>
            −{before} min
          </text>
        ))}
        <text class="columns-when newest" x={width} y={HEIGHT - 3}>
          now
        </text>
      </svg>
    </div>
  );
}

function short(count: number): string {
  if (count >= 1000) return `${count / 1000} k`;
  return Number.isInteger(count) ? String(count) : "";
}

function worded(minute: Minute): string {
  const clock = new Date(minute.at).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  return `${clock}: ${minute.created} created, ${minute.completed} completed, ${minute.failed} failed, ${minute.cancelled} cancelled`;
}

function MinutesTable({ minutes }: { minutes: readonly Minute[] }) {
  const busy = minutes.filter((minute) => minute.created + ended(minute) > 0).reverse();
  if (busy.length === 0) return <p class="panel-empty faint">Nothing has happened in the last hour.</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section class="table-frame tall" tabIndex={0} aria-label="Minutes in which something happened">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Minute</th>
            <th scope="col">Created</th>
            <th scope="col">Completed</th>
            <th scope="col">Failed</th>
            <th scope="col">Cancelled</th>
          </tr>
        </thead>
        <tbody>
          {busy.map((minute) => (
            <tr key={minute.at}>
              <th scope="row">{new Date(minute.at).toLocaleTimeString()}</th>
              <td class="number">{minute.created}</td>
              <td class="number">{minute.completed}</td>
              <td class="number">{minute.failed}</td>
              <td class="number">{minute.cancelled}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Latencies({ activity }: { activity: Activity }) {
  return (
    <dl class="latencies">
      <LatencyLine name="Waited" means="from ready to begun" {...activity.wait} />
      <LatencyLine name="Ran" means="from begun to ended" {...activity.run} />
    </dl>
  );
}

interface LatencyProps {
  name: string;
  means: string;
  p50?: number | null;
  p95?: number | null;
  count: number;
}

const SPAN = 200;

function LatencyLine({ name, means, p50, p95, count }: LatencyProps) {
  if (p50 === null || p50 === undefined || p95 === null || p95 === undefined) {
    return (
      <div class="latency">
        <dt>
          {name} <span class="faint">{means}</span>
        </dt>
        <dd class="faint">nothing to measure yet</dd>
      </div>
    );
  }
  const [middle, most] = [logShare(p50) * SPAN, logShare(p95) * SPAN];
  return (
    <div class="latency">
      <dt>
        {name} <span class="faint">{means}</span>
      </dt>
      <dd>
        <span class="number latency-words">
          half within <strong>{duration(p50)}</strong>, 95 % within <strong>{duration(p95)}</strong>
        </span>
        <svg viewBox={`-4 0 ${SPAN + 8} 14`} aria-hidden="true">
          <line class="latency-axis" x1={0} x2={SPAN} y1={7} y2={7} />
          {[0.001, 1, 60, 3600, 86_400].map((seconds) => (
            <line
              key={seconds}
              class="latency-axis"
              {...{ x1: logShare(seconds) * SPAN, x2: logShare(seconds) * SPAN }}
              y1={4}
              y2={10}
            />
          ))}
          <rect class="latency-range" x={middle} y={4} width={Math.max(2, most - middle)} height={6} rx={3} />
          <circle class="latency-middle" cx={middle} cy={7} r={4} />
        </svg>
        <span class="faint latency-count">of the last {count.toLocaleString()}, from 1 ms to 1 day</span>
      </dd>
    </div>
  );
}
