// Temporal: how a task stands on Temporal's side, and the way to Temporal's own page about it.
// It must not know the task beyond its id.

import { useEffect } from "preact/hooks";
import { call, said } from "../api";
import type { Task } from "../described";
import { useLoaded } from "../loaded";
import { Icon } from "../parts/icon";
import { may, me } from "../session";
import { isEnded } from "./allowed";

/** Milliseconds: that a Temporal workflow has been started is told by no event. */
const LOOK_EVERY = 3000;

export function Temporal({ task }: { task: Task }) {
  if (task.engine !== "temporal" || me.value?.engine !== "temporal" || !may("operator")) return null;
  return <Side task={task} />;
}

function Side({ task }: { task: Task }) {
  const loaded = useLoaded(
    (signal) => call("describe_task", { path: { task_id: task.id }, signal }),
    [task.id, task.generation, task.state],
  );
  const view = loaded.value;
  const { reload } = loaded;
  const awaited = !isEnded(task) && view?.temporal !== "RUNNING";
  useEffect(() => {
    if (!awaited) return;
    const timer = setInterval(reload, LOOK_EVERY);
    return () => clearInterval(timer);
  }, [awaited, reload]);
  return (
    <section class="part" aria-label="Temporal">
      <h2>Temporal</h2>
      {view ? (
        <dl class="particulars">
          <div>
            <dt>Status</dt>
            <dd>{view.temporal.toLowerCase().replaceAll("_", " ")}</dd>
          </div>
          <div>
            <dt>Workflow</dt>
            <dd class="mono">{view.workflow_id}</dd>
          </div>
          <div>
            <dt>Namespace</dt>
            <dd class="mono">{view.namespace}</dd>
          </div>
        </dl>
      ) : (
        <p class="faint">{loaded.error ? said(loaded.error) : "…"}</p>
      )}
      {view && me.value?.temporal_ui && view.temporal !== "MISSING" && (
        <p>
          <a
            class="button small"
            href={place(me.value.temporal_ui, view.namespace, view.workflow_id, view.run_id)}
            target="_blank"
            rel="noreferrer noopener"
          >
            <Icon name="out" size={14} />
            Open in Temporal
          </a>
        </p>
      )}
    </section>
  );
}

/** Where Temporal's UI shows a workflow. */
export function place(ui: string, namespace: string, workflow: string, run: string | null): string {
  const base = `${ui.replace(/\/+$/, "")}/namespaces/${encodeURIComponent(namespace)}/workflows/${encodeURIComponent(workflow)}`;
  return run ? `${base}/${encodeURIComponent(run)}/history` : base;
}
