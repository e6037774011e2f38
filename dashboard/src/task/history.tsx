// History: what happened to a task in words, oldest first, with what people said about it in between.
// It must not know how events come here.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Event, Task } from "../described";
import { keepDraft, draft as keptDraft } from "../drafts";
import type { Loaded } from "../loaded";
import { Button } from "../parts/button";
import { Loading, Trouble } from "../parts/empty";
import { Field } from "../parts/field";
import { Person } from "../parts/person";
import { type AnyState, StateMark } from "../parts/state";
import { Ago } from "../parts/time";
import { withLinks } from "../parts/value";
import { may } from "../session";
import { comment } from "./acts";

const LONGEST = 8192;

export function History({ task, history }: { task: Task; history: Loaded<Event[]> }) {
  return (
    <section class="history" aria-labelledby="history-title">
      <h2 id="history-title">History</h2>
      {history.value ? (
        <ol>
          {history.value.map((event) => (
            <Entry key={event.seq} event={event} task={task} />
          ))}
        </ol>
      ) : history.error ? (
        <Trouble error={history.error} what="its history" onRetry={history.reload} />
      ) : (
        <Loading />
      )}
      {may("agent") && <CommentBox task={task} />}
    </section>
  );
}

function Entry({ event, task }: { event: Event; task: Task }) {
  if (event.kind === "task.commented") {
    const said = text(event.data.by) || event.actor?.name || "somebody";
    return (
      <li class="entry said">
        <p class="entry-head">
          <span>
            <Person name={said} /> <By event={event} named={said} />
          </span>
          <Ago at={event.at} />
        </p>
        <p class="entry-text">{withLinks(text(event.data.text))}</p>
      </li>
    );
  }
  return (
    <li class="entry">
      <StateMark state={text(event.data.state) as AnyState} size={14} />
      <p class="entry-head">
        <span>
          {worded(event, task)} <By event={event} named={named(event, task)} />
        </span>
        <Ago at={event.at} />
      </p>
    </li>
  );
}

/** Who did it, as far as the words do not say it already. */
function By({ event, named }: { event: Event; named: string }) {
  const { actor } = event;
  if (!actor) return null;
  if (actor.name === named) return actor.proved ? null : <span class="faint">(said, not proved)</span>;
  return (
    <span class="faint">
      {actor.proved ? "by" : "said to be by"} <Person name={actor.name} />
    </span>
  );
}

/** Whom the words of an event name as who did it. */
function named(event: Event, task: Task): string {
  switch (event.kind) {
    case "task.created":
      return task.created_by ?? "";
    case "task.claimed":
    case "task.started":
    case "task.completed":
      return text(event.data.assigned_to);
    default:
      return "";
  }
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");

function worded(event: Event, task: Task): ComponentChildren {
  const { data } = event;
  const holder = text(data.assigned_to);
  const who = holder ? <Person name={holder} /> : null;
  switch (event.kind) {
    case "task.created":
      return task.created_by ? (
        <>
          <Person name={task.created_by} /> created it
        </>
      ) : (
        "created"
      );
    case "task.claimed":
      return <>{who ?? "somebody"} claimed it</>;
    case "task.started":
      return who ? <>{who} began</> : `attempt ${data.attempt} began`;
    case "task.progress":
      return `${Math.round(Number(data.progress))} %${text(data.message) ? `: ${text(data.message)}` : ""}`;
    case "task.completed":
      return who ? <>{who} completed it</> : "completed";
    case "task.failed":
      return `failed${text(data.error) && data.error !== "failed" ? `: ${text(data.error)}` : ""}`;
    case "task.retrying":
      return `attempt ${data.attempt} failed; another follows`;
    case "task.cancelled":
      return `cancelled${text(data.reason) ? `: ${text(data.reason)}` : ""}`;
    case "task.updated":
      return <Edited fields={data.fields} to={who} />;
    default:
      return PLAIN[event.kind] ?? event.kind.replace("task.", "");
  }
}

const PLAIN: Readonly<Record<string, string>> = {
  "task.ready": "ready: nothing is in its way any more",
  "task.scheduled": "waits for its time",
  "task.lost": "lost: its process died, or its lease ended",
  "task.released": "given back",
  "task.retried": "opened again",
  "task.resubmitted": "handed to Temporal again",
  "task.switched": "goes on with the other engine",
  "task.adopted": "goes on in a copied file",
};

function Edited({ fields, to }: { fields: unknown; to: ComponentChildren }) {
  const names = Array.isArray(fields) ? fields.map(String) : [];
  if (names.length === 1 && names[0] === "assigned_to")
    return to ? <>reassigned to {to}</> : <>open to anybody</>;
  return <>edited{names.length > 0 && `: ${names.join(", ").replaceAll("_", " ")}`}</>;
}

/** `id` makes it the target of a key. */
function CommentBox({ task }: { task: Task }) {
  const kept = `${task.id}/comment`;
  const [said, setSaid] = useState(() => keptDraft<string>(kept) ?? "");
  const [working, setWorking] = useState(false);
  const keep = (next: string) => {
    setSaid(next);
    keepDraft(kept, next || undefined);
  };
  const submit = async () => {
    if (!said.trim() || working) return;
    setWorking(true);
    if (await comment(task, said)) keep("");
    setWorking(false);
  };
  return (
    <form
      class="comment-box"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <Field label="Comment">
        {(ties) => (
          <textarea
            {...ties}
            class="comment-text"
            rows={2}
            maxLength={LONGEST}
            value={said}
            onInput={(event) => keep(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void submit();
            }}
          />
        )}
      </Field>
      <Button small type="submit" icon="comment" busy={working} disabled={!said.trim()}>
        Comment
      </Button>
    </form>
  );
}
