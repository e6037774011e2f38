// Task: everything that is known of one task, and what may be done with it.
// It must not know how any of it is read or done.

import { useEffect } from "preact/hooks";
import { call } from "../api";
import type { Attempt, Task } from "../described";
import { useKeys } from "../keys";
import { type Loaded, useLoaded } from "../loaded";
import { Button } from "../parts/button";
import { Loading, Trouble } from "../parts/empty";
import { Icon } from "../parts/icon";
import { PageHead } from "../parts/page";
import { Person } from "../parts/person";
import { Priority } from "../parts/priority";
import { Progress } from "../parts/progress";
import { StateBadge } from "../parts/state";
import { Due } from "../parts/time";
import { Value } from "../parts/value";
import { href } from "../router";
import { About } from "../task/about";
import { claim, retry } from "../task/acts";
import { type Asked, allowed, isEnded } from "../task/allowed";
import { Attempts } from "../task/attempts";
import { TaskDialog, useDialog } from "../task/dialogs";
import { Explanation } from "../task/explanation";
import { useHistory, useTask } from "../task/facts";
import { History } from "../task/history";
import { Particulars } from "../task/particulars";
import { Problem } from "../task/problem";
import { Relatives } from "../task/relatives";
import { Temporal } from "../task/temporal";

export function TaskPage({ id }: { id: string }) {
  const loaded = useTask(id);
  if (loaded.value) return <Known task={loaded.value} loaded={loaded} />;
  if (!loaded.error) return <Loading lines={8} />;
  return <Trouble error={loaded.error} what="this task" page onRetry={loaded.reload} />;
}

function Known({ task, loaded }: { task: Task; loaded: Loaded<Task> }) {
  const history = useHistory(task.id);
  const attempts = useAttempts(task);
  const can = allowed(task);
  const [dialog, setDialog] = useDialog(can);
  useEffect(() => {
    document.title = `${task.title} · Durable tasks`;
  }, [task.title]);
  return (
    <article class="page task-page">
      <PageHead title={task.title} above={<Above task={task} />} beneath={<Beneath task={task} />}>
        <Actions task={task} put={loaded.put} onDialog={setDialog} />
      </PageHead>
      <div class="task-columns">
        <div class="task-main">
          <Explanation task={task} />
          {task.progress > 0 && !isEnded(task) && (
            <Progress value={task.progress} message={task.progress_message} />
          )}
          {task.error && <Failure task={task} />}
          <About task={task} />
          {task.state === "completed" && (
            <section class="part" aria-labelledby="output-title">
              <h2 id="output-title">Output</h2>
              <Value value={task.output} label="Output" />
            </section>
          )}
          {task.form && (
            <details class="part">
              <summary>Its form</summary>
              <Value value={task.form} label="Form" raw />
            </details>
          )}
          <section class="part" aria-labelledby="attempts-title">
            <h2 id="attempts-title">
              Attempts <span class="number">{attempts.value?.length}</span>
            </h2>
            <Attempts attempts={attempts} />
          </section>
          <History task={task} history={history} />
        </div>
        <aside class="task-side" aria-label="Particulars">
          <Relatives task={task} />
          <Temporal task={task} />
          <Particulars task={task} />
        </aside>
      </div>
      {dialog && <TaskDialog name={dialog} task={task} put={loaded.put} onClose={() => setDialog(null)} />}
    </article>
  );
}

function useAttempts(task: Task): Loaded<Attempt[]> {
  return useLoaded(
    async (signal) => (await call("list_attempts", { path: { task_id: task.id }, signal })).items,
    [task.id],
    (event) => event.task_id === task.id && event.kind !== "task.progress",
  );
}

function Above({ task }: { task: Task }) {
  return (
    <>
      <a href={href("tasks")}>
        <Icon name="back" size={14} />
        Tasks
      </a>
      {task.workflow_id && (
        <>
          <span aria-hidden="true">·</span>
          <a href={href("workflows", task.workflow_id)}>Workflow</a>
        </>
      )}
    </>
  );
}

function Beneath({ task }: { task: Task }) {
  return (
    <>
      <StateBadge state={task.state} />
      <Priority level={task.priority} />
      {task.deadline_at && !isEnded(task) && <Due at={task.deadline_at} />}
      {task.assigned_to && <Person name={task.assigned_to} />}
      {task.capability && <span class="mono">{task.capability}</span>}
      {task.reason && <span>{task.reason.replaceAll("_", " ")}</span>}
    </>
  );
}

function Failure({ task }: { task: Task }) {
  return (
    <section class="part failure" aria-labelledby="error-title">
      <h2 id="error-title">{task.state === "failed" ? "Why it failed" : "What went wrong last"}</h2>
      {task.error && <Problem error={task.error} />}
    </section>
  );
}

interface ActionsProps {
  task: Task;
  put: (task: Task) => void;
  onDialog: (name: Asked) => void;
}

/** Everything that is possible now; the keys are those of the inbox. */
function Actions({ task, put, onDialog }: ActionsProps) {
  const can = allowed(task);
  const acts = [
    can.claim && { key: "c", does: "Claim", act: () => claim(task, put) },
    can.work && { key: "p", does: "Progress…", act: () => onDialog("progress") },
    can.work && { key: "r", does: "Release…", act: () => onDialog("release") },
    can.reassign && { key: "a", does: "Reassign…", act: () => onDialog("reassign") },
    can.retry && { key: "t", does: "Retry", act: () => retry(task, put) },
    can.work && { key: "f", does: "Fail…", danger: true, act: () => onDialog("fail") },
    can.cancel && { key: "x", does: "Cancel…", danger: true, act: () => onDialog("cancel") },
  ].filter((act) => act !== false);
  useKeys(acts.map(({ key, does, act }) => ({ key, does: does.replace("…", ""), act })));
  return (
    <>
      {can.work && (
        <a class="button primary" href={href("inbox", task.id)}>
          Answer it
        </a>
      )}
      {acts.map(({ key, does, act, danger }) => (
        <Button key={key} look={danger ? "danger" : key === "c" ? "primary" : "plain"} onPress={act}>
          {does}
        </Button>
      ))}
    </>
  );
}
