// Attempts: what the timeline shows, as a table: for who cannot see it, and for who wants the numbers.
// It must not know how the bars are drawn.

import { useState } from "preact/hooks";
import type { Attempt } from "../described";
import { Button } from "../parts/button";
import { Person } from "../parts/person";
import { Ago, Lasted } from "../parts/time";
import { href } from "../router";
import { duration } from "../time";
import type { Row } from "./bars";

const STEP = 100;

export function AttemptsTable({ rows }: { rows: readonly Row[] }) {
  const [most, setMost] = useState(STEP);
  const lines = rows.flatMap((row) => attemptsOf(row).map((attempt) => ({ row, attempt })));
  if (lines.length === 0) return <p class="panel-empty faint">No attempt has begun.</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section class="table-frame" tabIndex={0} aria-label="Attempts">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Task</th>
            <th scope="col">Attempt</th>
            <th scope="col">Ended</th>
            <th scope="col">By</th>
            <th scope="col">Waited</th>
            <th scope="col">Worked</th>
            <th scope="col">Claimed</th>
            <th scope="col">Error</th>
          </tr>
        </thead>
        <tbody>
          {lines.slice(0, most).map(({ row, attempt }) => (
            <tr key={`${attempt.task_id} ${attempt.number}`}>
              <th scope="row">
                <a href={href("tasks", attempt.task_id)}>{row.member.title}</a>
              </th>
              <td class="number">{attempt.number}</td>
              <td class={`attempt-word attempt-${attempt.state}`}>{attempt.state}</td>
              <td>{attempt.agent_id && <Person name={attempt.agent_id} />}</td>
              <td class="number">{waited(row, attempt)}</td>
              <td>{attempt.started_at && <Lasted from={attempt.started_at} to={attempt.ended_at} />}</td>
              <td>
                <Ago at={attempt.claimed_at} />
              </td>
              <td class="cell-error">{errorOf(attempt)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {lines.length > most && (
        <p class="panel-foot">
          <Button small onPress={() => setMost(most + STEP)}>
            Show {Math.min(STEP, lines.length - most)} more
          </Button>
        </p>
      )}
    </section>
  );
}

function attemptsOf(row: Row): Attempt[] {
  return [...new Set(row.bars.flatMap((bar) => bar.attempt ?? []))];
}

/** From when nothing was in its way, or from the end of the attempt before, until somebody took it. */
function waited(row: Row, attempt: Attempt): string {
  const claimed = Date.parse(attempt.claimed_at);
  const bar = row.bars.find((one) => one.to === claimed && (one.kind === "ready" || one.kind === "again"));
  return bar ? duration((claimed - bar.from) / 1000) : "–";
}

function errorOf({ error }: Attempt): string {
  return error ? [error.type, error.message].filter(Boolean).join(": ") : "";
}
