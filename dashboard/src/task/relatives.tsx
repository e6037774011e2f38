// Relatives: the tasks that a task waited for, the one that made it, and those that it has made.
// It must not know how one comes to be the other.

import type { Task } from "../described";
import { StateMark } from "../parts/state";
import { href } from "../router";
import { useChildren, useParent, usePrior } from "./facts";

export function Relatives({ task }: { task: Task }) {
  const prior = usePrior(task).value ?? [];
  const parent = useParent(task).value ?? [];
  const children = useChildren(task.id).value ?? [];
  const more = task.depends_on.length - prior.length;
  return (
    <>
      {prior.length > 0 && (
        <Links title="Depends on" tasks={prior}>
          {more > 0 ? `and ${more} more` : null}
        </Links>
      )}
      {parent.length > 0 && <Links title="Part of" tasks={parent} />}
      {children.length > 0 && <Links title="Children" tasks={children} />}
    </>
  );
}

function Links({
  title,
  tasks,
  children,
}: {
  title: string;
  tasks: readonly Task[];
  children?: string | null;
}) {
  return (
    <section class="part" aria-label={title}>
      <h2>
        {title} <span class="number">{tasks.length}</span>
      </h2>
      <ul class="relatives">
        {tasks.map((task) => (
          <li key={task.id}>
            <a href={href("tasks", task.id)}>
              <StateMark state={task.state} size={14} />
              <span class="clip">{task.title}</span>
              <span class="visually-hidden">, {task.state}</span>
            </a>
          </li>
        ))}
      </ul>
      {children && <p class="faint">{children}</p>}
    </section>
  );
}
