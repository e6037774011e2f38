// Waiting: one task of the inbox: what it is about, in whose hands it is, and its answer.
// It must not know the list beside it.

import { useEffect, useRef } from "preact/hooks";
import type { Task } from "../described";
import { draft } from "../drafts";
import { useKeys } from "../keys";
import type { Loaded } from "../loaded";
import { Button } from "../parts/button";
import { Loading, Trouble } from "../parts/empty";
import { Icon } from "../parts/icon";
import { Person } from "../parts/person";
import { Priority } from "../parts/priority";
import { Progress } from "../parts/progress";
import { StateBadge } from "../parts/state";
import { Ago, Due } from "../parts/time";
import { Value } from "../parts/value";
import { href } from "../router";
import { About } from "./about";
import { claim } from "./acts";
import { type Asked, allowed, isEnded } from "./allowed";
import { Answering } from "./answering";
import { TaskDialog, useDialog } from "./dialogs";
import { useHistory, useTask } from "./facts";
import { History } from "./history";
import { Holder } from "./holder";

export function WaitingTask({ id }: { id: string }) {
  const loaded = useTask(id);
  if (loaded.value) return <Opened task={loaded.value} loaded={loaded} />;
  return (
    <>
      <BackLink />
      {loaded.error ? (
        <Trouble error={loaded.error} what="this task" onRetry={loaded.reload} />
      ) : (
        <Loading lines={7} />
      )}
    </>
  );
}

function BackLink() {
  return (
    <p class="inbox-back">
      <a href={href("inbox")}>
        <Icon name="back" />
        Inbox
      </a>
    </p>
  );
}

function Opened({ task, loaded }: { task: Task; loaded: Loaded<Task> }) {
  const history = useHistory(task.id);
  const can = allowed(task);
  const [dialog, setDialog] = useDialog(can);
  const { put } = loaded;
  const page = useRef<HTMLElement>(null);
  const focus = (selector: string) => page.current?.querySelector<HTMLElement>(selector)?.focus();
  const taking = useRef(false);
  const take = async () => {
    taking.current = true;
    if (!(await claim(task, put))) taking.current = false;
  };
  useEffect(() => {
    // Not sooner: until it is mine its controls are disabled.
    if (can.work && taking.current) focus(FIRST_CONTROL);
    if (can.work) taking.current = false;
  }, [can.work]);
  useKeys([
    { key: "Enter", does: "Go to the answer", act: () => focus(can.work ? FIRST_CONTROL : "button") },
    ...when(can.claim, { key: "c", does: "Claim", act: take }),
    ...when(can.work, { key: "p", does: "Report progress", act: () => setDialog("progress") }),
    ...when(can.work, { key: "f", does: "Fail with a reason", act: () => setDialog("fail") }),
    ...when(can.work, { key: "r", does: "Release", act: () => setDialog("release") }),
    ...when(can.reassign, { key: "a", does: "Reassign", act: () => setDialog("reassign") }),
    { key: "m", does: "Comment", act: () => focus(".comment-text") },
  ]);
  useTitle(task.title);

  return (
    <article ref={page} class="opened" aria-labelledby="task-title">
      <BackLink />
      <div class="opened-main">
        <Head task={task} />
        <Holder task={task} drafted={draft(task.id) !== undefined} />
        {can.claim && (
          <p class="opened-claim">
            <Button look="primary" shortcut="C" onPress={take}>
              Claim
            </Button>
            {can.reassign && <Button onPress={() => setDialog("reassign")}>Reassign…</Button>}
          </p>
        )}
        <About task={task} />
        {isEnded(task) && <Outcome task={task} />}
        {!isEnded(task) && (can.work || task.form) && <Answer task={task} open={can.work} put={put} />}
        {can.work && <Beside onDialog={setDialog} />}
        {!can.work && !can.claim && can.reassign && (
          <p>
            <Button onPress={() => setDialog("reassign")}>Reassign…</Button>
          </p>
        )}
      </div>
      <div class="opened-side">
        <History task={task} history={history} />
      </div>
      {dialog && <TaskDialog name={dialog} task={task} put={put} onClose={() => setDialog(null)} />}
    </article>
  );
}

const FIRST_CONTROL = ".answering :is(input,textarea,select)";

/** The key when it does something now. */
const when = <K,>(possible: boolean, key: K): K[] => (possible ? [key] : []);

function useTitle(title: string): void {
  useEffect(() => {
    const before = document.title;
    document.title = `${title} · Durable tasks`;
    return () => {
      document.title = before;
    };
  }, [title]);
}

function Head({ task }: { task: Task }) {
  return (
    <header class="opened-head">
      <h1 id="task-title">{task.title}</h1>
      <p class="page-beneath">
        <StateBadge state={task.state} />
        <Priority level={task.priority} />
        {task.deadline_at && !isEnded(task) && <Due at={task.deadline_at} />}
        {task.created_by && (
          <span>
            from <Person name={task.created_by} />
          </span>
        )}
        <Ago at={task.created_at} />
        {task.labels.map((label) => (
          <span key={label} class="label">
            {label}
          </span>
        ))}
        {task.workflow_id && <a href={href("workflows", task.workflow_id)}>Workflow</a>}
        <a href={href("tasks", task.id)}>Everything about it</a>
      </p>
    </header>
  );
}

function Answer({ task, open, put }: { task: Task; open: boolean; put: (task: Task) => void }) {
  return (
    <section class={open ? "part answer" : "part answer closed"} aria-labelledby="answer-title">
      <h2 id="answer-title">{open ? "Your answer" : "What is asked"}</h2>
      {task.progress > 0 && <Progress value={task.progress} message={task.progress_message} />}
      <Answering task={task} open={open} put={put} />
    </section>
  );
}

/** What may be done instead of completing it. */
function Beside({ onDialog }: { onDialog: (name: Asked) => void }) {
  return (
    <p class="opened-beside">
      <Button look="quiet" shortcut="P" onPress={() => onDialog("progress")}>
        Progress…
      </Button>
      <Button look="quiet" shortcut="A" onPress={() => onDialog("reassign")}>
        Reassign…
      </Button>
      <Button look="quiet" shortcut="R" onPress={() => onDialog("release")}>
        Release…
      </Button>
      <Button look="danger" shortcut="F" onPress={() => onDialog("fail")}>
        Fail…
      </Button>
    </p>
  );
}

function Outcome({ task }: { task: Task }) {
  if (task.state !== "completed") return null;
  return (
    <section class="part" aria-labelledby="output-title">
      <h2 id="output-title">Output</h2>
      <Value value={task.output} label="Output" />
    </section>
  );
}
