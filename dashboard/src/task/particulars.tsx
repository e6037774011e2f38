// Particulars: every field of a task that is not told elsewhere on its page.
// It must not know what can be done with the task.

import type { ComponentChildren } from "preact";
import type { Task } from "../described";
import { Person } from "../parts/person";
import { Priority } from "../parts/priority";
import { Ago, Due } from "../parts/time";
import { Value } from "../parts/value";
import { href } from "../router";
import { duration } from "../time";
import { isEnded } from "./allowed";

type Fact = readonly [name: string, value: ComponentChildren];

export function Particulars({ task }: { task: Task }) {
  return (
    <>
      <Facts title="People" facts={people(task)} />
      <Facts title="Time" facts={times(task)} />
      <Facts title="Execution" facts={execution(task)} />
      <Facts title="References" facts={references(task)} />
      {Object.keys(task.metadata).length > 0 && (
        <section class="part" aria-label="Metadata">
          <h2>Metadata</h2>
          <Value value={task.metadata} label="Metadata" />
        </section>
      )}
    </>
  );
}

function Facts({ title, facts }: { title: string; facts: readonly (Fact | false)[] }) {
  const known = facts.filter((fact): fact is Fact => fact !== false);
  if (known.length === 0) return null;
  return (
    <section class="part" aria-label={title}>
      <h2>{title}</h2>
      <dl class="particulars">
        {known.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

/** A fact that is there only when there is something to say. */
const fact = <T,>(
  name: string,
  value: T | null | undefined,
  say: (value: T) => ComponentChildren,
): Fact | false => value !== null && value !== undefined && [name, say(value)];

const plain = (value: ComponentChildren) => value;
const mono = (value: string) => <span class="mono">{value}</span>;
const at = (value: string) => <Ago at={value} />;

function people(task: Task): readonly (Fact | false)[] {
  return [
    fact(isEnded(task) ? "Done by" : "Assigned to", task.assigned_to, (name) => <Person name={name} />),
    fact("Created by", task.created_by, (name) => <Person name={name} />),
    ["Priority", <Priority key="level" level={task.priority} always />],
    ["Space", task.space_id],
    task.labels.length > 0 && ["Labels", task.labels.map((label) => <Label key={label} label={label} />)],
  ];
}

function Label({ label }: { label: string }) {
  return (
    <a class="label" href={href("tasks", null, new URLSearchParams({ labels: label }))}>
      {label}
    </a>
  );
}

function times(task: Task): readonly (Fact | false)[] {
  return [
    ["Created", <Ago key="created" at={task.created_at} />],
    fact("Not before", task.not_before, at),
    fact("Deadline", task.deadline_at, (value) => (isEnded(task) ? <Ago at={value} /> : <Due at={value} />)),
    fact("Started", task.started_at, at),
    fact("Ended", task.completed_at, at),
    fact("Lease ends", task.lease_expires_at, at),
    fact("Archived", task.archived_at, at),
    ["Changed", <Ago key="changed" at={task.updated_at} />],
  ];
}

function execution(task: Task): readonly (Fact | false)[] {
  const { initial = 0, coefficient = 1, maximum = 0 } = task.retry;
  return [
    fact("Capability", task.capability, mono),
    ["Mode", task.mode === task.placement ? task.mode : `${task.mode}, ${task.placement}`],
    fact("Queue", task.queue, mono),
    ["Engine", `${task.engine}, generation ${task.generation}`],
    ["Attempt", task.attempt],
    ["Retries", `${task.retry_count} of ${task.max_retries}`],
    task.max_retries > 0 && [
      "Backoff",
      `${duration(initial)}${coefficient === 1 ? "" : ` × ${coefficient}`}, at most ${duration(maximum)}`,
    ],
    task.lost_count > 0 && ["Lost", `${task.lost_count} times`],
    fact("Timeout", task.timeout, duration),
    ["Version", task.version],
  ];
}

function references(task: Task): readonly (Fact | false)[] {
  return [
    ["Id", mono(task.id)],
    fact("Name", task.name, mono),
    fact("Workflow", task.workflow_id, (id) => <a href={href("workflows", id)}>{mono(id)}</a>),
    fact("Parent", task.parent_task_id, (id) => <a href={href("tasks", id)}>{mono(id)}</a>),
    task.depends_on.length > 0 && ["If these fail", task.on_dependency_failure],
    fact("Correlation", task.correlation_id, mono),
    fact("Idempotency", task.idempotency_key, mono),
    fact("Reason", task.reason, plain),
  ];
}
