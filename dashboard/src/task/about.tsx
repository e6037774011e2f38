// About: what a task is about: its description, its input, and what the tasks before it found out.
// It must not know what is to be answered.

import type { Task } from "../described";
import { Value, withLinks } from "../parts/value";
import { href } from "../router";
import { usePrior } from "./facts";

export function About({ task }: { task: Task }) {
  const prior = usePrior(task);
  const found = (prior.value ?? []).filter((each) => each.output !== null);
  const unread = task.depends_on.length - (prior.value?.length ?? task.depends_on.length);
  return (
    <>
      {task.description && <p class="description">{withLinks(task.description)}</p>}
      {task.input !== null && task.input !== undefined && (
        <section class="part" aria-labelledby="input-title">
          <h2 id="input-title">Input</h2>
          <Value value={task.input} label="Input" />
        </section>
      )}
      {found.map((each) => (
        <section key={each.id} class="part" aria-label={`Output of ${each.title}`}>
          <h2>
            From <a href={href("tasks", each.id)}>{each.title}</a>
          </h2>
          <Value value={each.output} label={`Output of ${each.title}`} />
        </section>
      ))}
      {found.length > 0 && unread > 0 && <p class="faint">and {unread} more tasks before it</p>}
    </>
  );
}
