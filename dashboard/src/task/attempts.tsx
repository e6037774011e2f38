// Attempts: every execution of a task: who, how long, how it ended.
// It must not know what else happened to the task.

import type { Attempt } from "../described";
import type { Loaded } from "../loaded";
import { Loading, Trouble } from "../parts/empty";
import { Person } from "../parts/person";
import { type AnyState, StateMark } from "../parts/state";
import { Ago, Lasted } from "../parts/time";
import { Problem } from "./problem";

/** How the end of an attempt looks: as the state of a task that it is nearest to. */
const LOOKS: Readonly<Record<Attempt["state"], AnyState>> = {
  running: "running",
  cancelling: "retrying",
  completed: "completed",
  failed: "failed",
  cancelled: "cancelled",
  released: "pending",
  lost: "retrying",
};

export function Attempts({ attempts }: { attempts: Loaded<Attempt[]> }) {
  if (!attempts.value)
    return attempts.error ? (
      <Trouble error={attempts.error} what="its attempts" onRetry={attempts.reload} />
    ) : (
      <Loading />
    );
  if (attempts.value.length === 0) return <p class="faint">Nobody has tried yet.</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section class="scrolled" tabIndex={0} aria-label="Attempts, one by one">
      <table class="facts-table">
        <thead>
          <tr>
            <th scope="col">#</th>
            <th scope="col">State</th>
            <th scope="col">By</th>
            <th scope="col">Begun</th>
            <th scope="col">Took</th>
          </tr>
        </thead>
        <tbody>
          {attempts.value.map((attempt) => (
            <Row key={attempt.number} attempt={attempt} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({ attempt }: { attempt: Attempt }) {
  return (
    <>
      <tr>
        <td class="number">{attempt.number}</td>
        <td>
          <span class={`stated state-${LOOKS[attempt.state]}`}>
            <StateMark state={LOOKS[attempt.state]} size={14} />
            {attempt.state}
          </span>
        </td>
        <td>
          {attempt.agent_id ? <Person name={attempt.agent_id} /> : <span class="faint">–</span>}
          {attempt.actor && attempt.actor.name !== attempt.agent_id && (
            <span class="faint">
              {" "}
              for whom <Person name={attempt.actor.name} /> took it
            </span>
          )}
          {attempt.actor && !attempt.actor.proved && <span class="faint"> (said, not proved)</span>}
        </td>
        <td>
          <Ago at={attempt.started_at ?? attempt.claimed_at} />
        </td>
        <td>
          <Lasted from={attempt.started_at ?? attempt.claimed_at} to={attempt.ended_at} />
        </td>
      </tr>
      {attempt.error && (
        <tr class="beneath">
          <td />
          <td colSpan={4}>
            <Problem error={attempt.error} />
          </td>
        </tr>
      )}
    </>
  );
}
