// Holder: in whose hands a task is, said so that two people on one task see it at once.
// It must not know what can be done about it.

import type { ComponentChildren } from "preact";
import type { Task } from "../described";
import { Icon, type IconName } from "../parts/icon";
import { Person } from "../parts/person";
import { Ago } from "../parts/time";
import { isMe, isMineToTake, may } from "../session";
import { isEnded, isHeld, isHeldByMe } from "./allowed";

/** `drafted`: somebody has typed an answer here and not sent it. */
export function Holder({ task, drafted }: { task: Task; drafted: boolean }) {
  if (isHeldByMe(task)) return null;
  const kept = drafted && !isEnded(task) ? " Your draft is kept in this tab." : "";
  if (isEnded(task)) return <Ended task={task} />;
  if (isHeld(task) && task.assigned_to)
    return (
      <Banner icon="person" tone="taken">
        <Person name={task.assigned_to} /> has this task
        {task.started_at && (
          <>
            , since <Ago at={task.started_at} />
          </>
        )}
        .{kept}
      </Banner>
    );
  if (task.assigned_to && !isMineToTake(task.assigned_to))
    return (
      <Banner icon="lock" tone="taken">
        It is reserved for <Person name={task.assigned_to} />.{kept}
      </Banner>
    );
  if (task.state !== "pending")
    return (
      <Banner icon="clock" tone="calm">
        It cannot be taken yet: it is {task.state}.{kept}
      </Banner>
    );
  return (
    <Banner icon="inbox" tone="calm">
      {!task.assigned_to && "Anybody may take it. "}
      {isMe(task.assigned_to) && "It is reserved for you. "}
      {task.assigned_to?.startsWith("group:") && (
        <>
          It is for <Person name={task.assigned_to} />.{" "}
        </>
      )}
      {may("agent") && "Claim it to answer."}
      {kept}
    </Banner>
  );
}

function Ended({ task }: { task: Task }) {
  const icons = { completed: "check", failed: "cross", cancelled: "slash" } as const;
  const state = task.state as keyof typeof icons;
  return (
    <Banner icon={icons[state]} tone={state}>
      {state[0]?.toUpperCase() + state.slice(1)}
      {task.assigned_to && state !== "cancelled" && (
        <>
          {" "}
          by <Person name={task.assigned_to} />
        </>
      )}
      {task.completed_at && (
        <>
          {" "}
          <Ago at={task.completed_at} />
        </>
      )}
      {task.error && state === "failed" && <>: {task.error.message}</>}
      {task.reason && <>: {task.reason.replaceAll("_", " ")}</>}
    </Banner>
  );
}

function Banner({ icon, tone, children }: { icon: IconName; tone: string; children: ComponentChildren }) {
  return (
    <div class={`holder ${tone}`} role="status">
      <Icon name={icon} />
      <p>{children}</p>
    </div>
  );
}
