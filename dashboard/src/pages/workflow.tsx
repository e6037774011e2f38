// Workflow: one workflow live: its graph, its timeline, its tasks, and what can be done to all of it.
// It must not know how the graph is laid out, nor how its events are followed.

import { useMemo, useState } from "preact/hooks";
import { call } from "../api";
import type { TaskState, Workflow } from "../described";
import { counted } from "../graph/follow";
import { Graph } from "../graph/graph";
import { Members } from "../graph/members";
import { StateBar, StateLegend } from "../graph/statebar";
import { Timeline } from "../graph/timeline";
import { useWatched } from "../graph/watched";
import { kindOf, policyOf } from "../graph/workflow-words";
import { Button } from "../parts/button";
import { Dialog, Ends, useOnce } from "../parts/dialog";
import { Loading, Trouble } from "../parts/empty";
import { TextField } from "../parts/field";
import { Icon } from "../parts/icon";
import { PageHead } from "../parts/page";
import { Person } from "../parts/person";
import { StateBadge } from "../parts/state";
import { Ago, Lasted } from "../parts/time";
import { attempt } from "../parts/toasts";
import { Value } from "../parts/value";
import { href } from "../router";
import { may } from "../session";
import { ENDED } from "../states";

export function WorkflowPage({ id }: { id: string }) {
  const { workflow, members, picture, error, reload, put, moreAttempts, readAttempts } = useWatched(id);
  const counts = useMemo(() => counted(picture?.members.values() ?? []), [picture?.members]);
  if (error && !(workflow && picture)) return <Trouble error={error} what="this workflow" onRetry={reload} />;
  if (!workflow || !picture) return <Loading lines={6} />;
  return (
    <div class="page workflow">
      <Head workflow={workflow} counts={counts} onChange={put} />
      {workflow.error && (
        <p class="notice bad">
          <Icon name="alert" /> <strong>{workflow.error.type}</strong> {workflow.error.message}
        </p>
      )}
      <div class="standing">
        <StateBar counts={counts} />
        <StateLegend counts={counts} />
      </div>
      <Graph workflow={workflow} members={members} picture={picture} />
      <Timeline workflow={workflow} picture={picture} onMore={moreAttempts ? readAttempts : null} />
      <Members picture={picture} />
      <About workflow={workflow} />
    </div>
  );
}

interface HeadProps {
  workflow: Workflow;
  counts: ReadonlyMap<TaskState, number>;
  onChange: (workflow: Workflow) => void;
}

function Head({ workflow, counts, onChange }: HeadProps) {
  const above = (
    <a href={href("workflows")}>
      <Icon name="back" size={14} />
      Workflows
    </a>
  );
  const beneath = (
    <>
      <StateBadge state={workflow.state} />
      <span>{kindOf(workflow)}</span>
      {policyOf(workflow) && <span>{policyOf(workflow)}</span>}
      <span>
        <Ago at={workflow.created_at} before="created" />
      </span>
      {workflow.started_at && (
        <span>
          {workflow.completed_at ? "took " : "running for "}
          <Lasted from={workflow.started_at} to={workflow.completed_at} />
        </span>
      )}
      {workflow.created_by && <Person name={workflow.created_by} />}
    </>
  );
  return (
    <PageHead title={workflow.name} above={above} beneath={beneath}>
      {may("agent") && <Actions {...{ workflow, counts, onChange }} />}
    </PageHead>
  );
}

function Actions({ workflow, counts, onChange }: HeadProps) {
  const [asked, setAsked] = useState<"cancel" | "retry" | null>(null);
  const close = () => setAsked(null);
  const again = workflow.state === "failed" || workflow.state === "cancelled";
  return (
    <>
      {again && (
        <Button icon="again" onPress={() => setAsked("retry")}>
          Retry
        </Button>
      )}
      {!ENDED.has(workflow.state) && (
        <Button look="danger" icon="slash" onPress={() => setAsked("cancel")}>
          Cancel
        </Button>
      )}
      {asked === "cancel" && <CancelDialog {...{ workflow, counts, onChange }} onClose={close} />}
      {asked === "retry" && <RetryDialog {...{ workflow, counts, onChange }} onClose={close} />}
    </>
  );
}

function CancelDialog({ workflow, counts, onChange, onClose }: HeadProps & { onClose: () => void }) {
  const [reason, setReason] = useState("");
  const open = [...counts].reduce((sum, [state, count]) => sum + (ENDED.has(state) ? 0 : count), 0);
  const act = async () => {
    const path = { workflow_id: workflow.id };
    onChange(await call("cancel_workflow", { path, body: { reason: reason.trim() || null } }));
  };
  const cancel = useOnce(() => attempt(act, "The workflow is cancelled"), onClose);
  return (
    <Dialog
      title="Cancel this workflow?"
      onClose={onClose}
      onSubmit={cancel}
      actions={<Ends act="Cancel the workflow" back="Keep it" danger onClose={onClose} />}
    >
      <p>
        {open === 1 ? "One task is" : `${open.toLocaleString()} tasks are`} not ended yet and will be
        cancelled. Those that run are told to stop. What has ended stays as it is.
      </p>
      <TextField
        label="Reason"
        help="Everybody who looks at the tasks can read it."
        optional
        value={reason}
        maxLength={8192}
        onText={setReason}
      />
    </Dialog>
  );
}

function RetryDialog({ workflow, counts, onChange, onClose }: HeadProps & { onClose: () => void }) {
  const [failed, cancelled] = [counts.get("failed") ?? 0, counts.get("cancelled") ?? 0];
  const act = async () =>
    onChange(await call("retry_workflow", { path: { workflow_id: workflow.id }, body: {} }));
  const retry = useOnce(() => attempt(act, "The workflow is open again"), onClose);
  return (
    <Dialog
      title="Retry this workflow?"
      onClose={onClose}
      onSubmit={retry}
      actions={<Ends act="Retry" back="Leave it" onClose={onClose} />}
    >
      <p>
        What failed ({failed.toLocaleString()}) or was cancelled ({cancelled.toLocaleString()}) is opened
        again. What is completed is kept and does not run twice.
      </p>
    </Dialog>
  );
}

function About({ workflow }: { workflow: Workflow }) {
  const { description, metadata, space_id, id } = workflow;
  return (
    <section class="panel about" aria-labelledby="about-title">
      <header class="panel-head">
        <h2 id="about-title">About it</h2>
      </header>
      <div class="panel-body">
        {description && <p class="about-text">{description}</p>}
        <Value
          label="Its id, space and metadata"
          value={{ id, space: space_id, ...(Object.keys(metadata).length ? { metadata } : {}) }}
        />
      </div>
    </section>
  );
}
