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
  /** The processes of the file, as far as the reader may know. */
  workers: Answer<"diagnose_org">["workers"] | null;
}

export function QueuesPanel({ queues, pollers, workers }: QueuesProps) {
  const deepest = Math.max(1, ...queues.items.map((one) => one.ready + one.running));
  return (
    <section class="panel" aria-labelledby="queues-title">
      <header class="panel-head">
        <h2 id="queues-title">Queues</h2>
      </header>
      {!queues.complete && <p class="panel-foot faint">There is more; this is the most urgent of it.</p>}
      {queues.items.length === 0 ? (
        <p class="panel-empty faint">Nothing is open.</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <section class="table-frame" tabIndex={0} aria-label="Open work by queue">
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
                <QueueRow
                  key={nameOf(depth)}
                  depth={depth}
                  deepest={deepest}
                  pollers={pollers}
                  workers={workers}
                />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </section>
  );
}

const SPAN = 120;

function QueueRow({
  depth,
  deepest,
  ...known
}: { depth: Depth; deepest: number } & Pick<QueuesProps, "pollers" | "workers">) {
  const { mode, placement, queue, capability, ready, running, oldest_ready_at } = depth;
  const query = new URLSearchParams([["mode", mode], ...(capability ? [["capability", capability]] : [])]);
  const asking = askingFor(depth, known);
  return (
    <tr>
      <th scope="row">
        <a href={href("tasks", null, query)}>
          {capability ?? (mode === "manual" ? "without a capability" : "the default handler")}
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
      <td class={asking === 0 ? "number cell-error" : "number"}>
        {asking === 0 ? "nobody" : (asking ?? "–")}
      </td>
    </tr>
  );
}

/** How many processes ask for it, as far as that is known; of people nobody knows. */
function askingFor(
  { placement, queue, capability }: Depth,
  { pollers, workers }: Pick<QueuesProps, "pollers" | "workers">,
): number | null | undefined {
  if (placement === "external") return pollers.get(queue ?? "default");
  if (placement === "manual" || workers === null) return null;
  const handled =
    capability === null ? workers.without_capability : workers.capabilities.includes(capability);
  return handled ? workers.processes : 0;
}

function nameOf({ mode, placement, queue, capability }: Depth): string {
  return [mode, placement, queue, capability].join("|");
}
