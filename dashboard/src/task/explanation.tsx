// Explanation: why an open task does not run.
// It must not know how the server finds out.

import { call } from "../api";
import type { Task } from "../described";
import { useLoaded } from "../loaded";
import { Icon } from "../parts/icon";
import { Ago } from "../parts/time";
import { isEnded, isHeld } from "./allowed";

export function Explanation({ task }: { task: Task }) {
  if (isEnded(task) || isHeld(task)) return null;
  return <Why task={task} />;
}

function Why({ task }: { task: Task }) {
  const { value } = useLoaded(
    (signal) => call("explain_task", { path: { task_id: task.id }, signal }),
    [task.id, task.version, task.state],
    (event) => task.depends_on.includes(event.task_id ?? ""),
  );
  if (!value?.waits_for) return null;
  return (
    <div class="holder calm" role="status">
      <Icon name="clock" />
      <p>
        It does not run: {value.waits_for}
        {value.since && (
          <>
            , since <Ago at={value.since} />
          </>
        )}
        .
      </p>
    </div>
  );
}
