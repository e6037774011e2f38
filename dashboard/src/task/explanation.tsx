// Explanation: why an open task does not run.
// It must not know how the server finds out.

import type { ComponentChildren } from "preact";
import { call } from "../api";
import type { Task } from "../described";
import { useLoaded } from "../loaded";
import { Icon } from "../parts/icon";
import { Lasted } from "../parts/time";
import { href } from "../router";
import { full } from "../time";
import { isEnded, isHeld } from "./allowed";

export function Explanation({ task }: { task: Task }) {
  if (isEnded(task) || isHeld(task)) return null;
  return <Why task={task} />;
}

const TASK = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
const MOMENT = "\\d{4}-\\d\\d-\\d\\dT[\\d:.]+(?:Z|[+-]\\d\\d:\\d\\d)";
const KNOWN = new RegExp(`(${TASK}|${MOMENT})`);

/** Ids as links, moments in the reader's own zone. */
function worded(text: string): ComponentChildren {
  return text.split(KNOWN).map((part, at, parts) => {
    if (at % 2 === 0) return part;
    if (!Number.isNaN(Date.parse(part))) return full(Date.parse(part));
    const workflow = parts[at - 1]?.endsWith("workflow ");
    return (
      <a key={part} href={href(workflow ? "workflows" : "tasks", part)}>
        {workflow ? part : "another task"}
      </a>
    );
  });
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
        It waits for {worded(value.waits_for)}
        {value.since && (
          <>
            , for <Lasted from={value.since} to={null} /> now
          </>
        )}
        .{value.error && ` Temporal said: ${value.error}`}
      </p>
    </div>
  );
}
