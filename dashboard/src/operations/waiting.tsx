// Waiting: open tasks that have not moved for a while, and what for.
// It must not know how that was found out.

import type { Answer } from "../api";
import { StateBadge } from "../parts/state";
import { Ago } from "../parts/time";
import { href } from "../router";

type Diagnosis = Answer<"diagnose_org">;

export function WaitingPanel({ waiting, more }: { waiting: Diagnosis["waiting"]; more: boolean }) {
  return (
    <section class="panel" aria-labelledby="waiting-title">
      <header class="panel-head">
        <h2 id="waiting-title">Not moving</h2>
        <span class="faint panel-note">Open for half a minute or more without a change</span>
      </header>
      {waiting.length === 0 ? (
        <p class="panel-empty faint">Everything that is open moves.</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <section class="table-frame tall" tabIndex={0} aria-label="Tasks that do not move">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Task</th>
                <th scope="col">State</th>
                <th scope="col">Waits for</th>
                <th scope="col">Since</th>
              </tr>
            </thead>
            <tbody>
              {waiting.map((task) => (
                <tr key={task.task_id}>
                  <th scope="row">
                    <a href={href("tasks", task.task_id)}>{task.title}</a>
                  </th>
                  <td>
                    <StateBadge state={task.state} />
                  </td>
                  <td>
                    {task.why}
                    {task.error && <span class="cell-error"> {task.error}</span>}
                  </td>
                  <td class="nowrap">
                    <Ago at={task.since} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      {more && <p class="panel-foot faint">There are more; these are the most urgent.</p>}
    </section>
  );
}
