// Queues: where open work waits: how much, since when, and who asks for it.
// It must not know who executes it.

import type { Answer } from "../api";
import { Ago } from "../parts/time";
import { href } from "../router";

type Queues = Answer<"list_queues">;
type Depth = Queues["items"][number];

interface QueuesProps {
  queues: Queues;
  /** Workers of Temporal's queues by their name, where that is known. */
  pollers: ReadonlyMap<string, number | null>;
}

export function QueuesPanel({ queues, pollers }: QueuesProps) {
  const deepest = Math.max(1, ...queues.items.map((one) => one.ready + one.running));
  return (
    <section class="panel" aria-labelledby="queues-title">
      <header class="panel-head">
        <h2 id="queues-title">Queues</h2>
      </header>
      {queues.items.length === 0 ? (
        <p class="panel-empty faint">Nothing is open.</p>
      ) : (
        <div class="table-frame">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Work</th>
                <th scope="col">For</th>
                <th scope="col">Ready</th>
                <th scope="col">At work</th>
                <th scope="col" class="wide-only">
                  <span class="visually-hidden">Share</span>
                </th>
                <th scope="col">Oldest ready</th>
                <th scope="col">Pollers</th>
              </tr>
            </thead>
            <tbody>
              {queues.items.map((depth) => (
                <QueueRow key={nameOf(depth)} depth={depth} deepest={deepest} pollers={pollers} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

const SPAN = 120;

function QueueRow({
  depth,
  deepest,
  pollers,
}: {
  depth: Depth;
  deepest: number;
  pollers: QueuesProps["pollers"];
}) {
  const { mode, placement, queue, capability, ready, running, oldest_ready_at } = depth;
  const query = new URLSearchParams([["mode", mode], ...(capability ? [["capability", capability]] : [])]);
  const asking = placement === "external" ? pollers.get(queue ?? "default") : undefined;
  return (
    <tr>
      <th scope="row">
        <a href={href("tasks", null, query)}>
          {capability ?? (mode === "manual" ? "no capability" : "the default handler")}
        </a>
      </th>
      <td>
        {placement === "manual"
          ? "people and agents"
          : placement === "external"
            ? `workers of ${queue ?? "the default queue"}`
            : "this server"}
      </td>
      <td class="number">{ready.toLocaleString()}</td>
      <td class="number">{running.toLocaleString()}</td>
      <td class="wide-only">
        <svg class="depth" width={SPAN} height="8" aria-hidden="true">
          <rect class="share state-running" width={(running / deepest) * SPAN} height="8" rx="2" />
          <rect
            class="share state-pending"
            x={(running / deepest) * SPAN}
            width={(ready / deepest) * SPAN}
            height="8"
            rx="2"
          />
        </svg>
      </td>
      <td>{oldest_ready_at ? <Ago at={oldest_ready_at} /> : "–"}</td>
      <td class="number">{asking ?? "–"}</td>
    </tr>
  );
}

function nameOf({ mode, placement, queue, capability }: Depth): string {
  return [mode, placement, queue, capability].join("|");
}
