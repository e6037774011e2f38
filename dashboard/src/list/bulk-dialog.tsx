// The question before many tasks are cancelled or retried: how many, and why.
// It must not know how they were selected.

import { useEffect, useRef, useState } from "preact/hooks";
import { call, said } from "../api";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { Field } from "../parts/field";
import { tell } from "../parts/toasts";
import { type Ask, type Criteria, carriedOut, foreseen, type Verb } from "./bulk";

const WORDS: Readonly<Record<Verb, { title: string; past: string; rest: string }>> = {
  cancel: { title: "Cancel tasks", past: "cancelled", rest: "have ended already and stay as they are" },
  retry: {
    title: "Retry tasks",
    past: "opened again",
    rest: "are neither failed nor cancelled and stay as they are",
  },
};

interface BulkDialogProps {
  verb: Verb;
  criteria: readonly Criteria[];
  /** How many the person has selected, as far as it is known. */
  selected: number;
  onClose: () => void;
  onDone: () => void;
}

export function BulkDialog({ verb, criteria, selected, onClose, onDone }: BulkDialogProps) {
  const [foreseeing, setForeseeing] = useState<{ count: number; more: boolean } | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [reason, setReason] = useState("");
  const [progress, setProgress] = useState<number | null>(null);
  const open = useRef(true);
  const words = WORDS[verb];
  useEffect(() => {
    open.current = true;
    foreseen(criteria, asking(verb)).then(setForeseeing, (error) => setProblem(said(error)));
    return () => {
      open.current = false;
    };
  }, []);

  const count = foreseeing?.count ?? 0;
  const carryOut = async () => {
    if (progress !== null || count === 0) return;
    setProblem(null);
    setProgress(0);
    try {
      const outcome = await carriedOut(criteria, asking(verb, reason), ({ changed, unchanged }) => {
        setProgress(changed + unchanged);
        return open.current;
      });
      tell(`${tasks(outcome.changed)} ${words.past}`);
      if (outcome.unchanged > 0)
        tell(`${tasks(outcome.unchanged)} refused it, or had changed`, { bad: true });
      onDone();
    } catch (error) {
      setProblem(said(error));
      setProgress(null);
    }
  };
  const amount = foreseeing && `${count.toLocaleString()}${foreseeing.more ? "+" : ""}`;
  return (
    <Dialog
      title={words.title}
      onClose={onClose}
      onSubmit={carryOut}
      actions={
        <>
          <Button onPress={onClose}>{progress === null ? "Keep them as they are" : "Stop"}</Button>
          <Button
            type="submit"
            look={verb === "cancel" ? "danger" : "primary"}
            disabled={!foreseeing || count === 0}
            busy={progress !== null}
          >
            {verb === "cancel" ? "Cancel" : "Retry"} {amount ?? ""} {count === 1 ? "task" : "tasks"}
          </Button>
        </>
      }
    >
      <p class="bulk-foreseen" role="status">
        {foreseeing ? (
          <>
            <strong>{amount}</strong> {count === 1 ? "task" : "tasks"} will be {words.past}.
            {!foreseeing.more &&
              selected > count &&
              ` ${(selected - count).toLocaleString()} of those selected ${words.rest}.`}
          </>
        ) : (
          !problem && "Counting what this would change…"
        )}
      </p>
      {verb === "cancel" && (
        <Field label="Reason" optional help="Kept with each task.">
          {(ties) => (
            <input
              {...ties}
              type="text"
              maxLength={1000}
              value={reason}
              onInput={(event) => setReason(event.currentTarget.value)}
            />
          )}
        </Field>
      )}
      {progress !== null && (
        <p class="progress" role="status">
          <progress max={Math.max(count, progress)} value={progress} aria-label="Done so far" />
          {progress.toLocaleString()} of {amount}
        </p>
      )}
      {problem && (
        <p class="bulk-problem" role="alert">
          {problem}
        </p>
      )}
    </Dialog>
  );
}

function asking(verb: Verb, reason = ""): Ask {
  return (criteria, given) => {
    if (verb === "retry") return call("retry_tasks", { body: { ...criteria, ...given } });
    return call("cancel_tasks", { body: { ...criteria, ...given, reason: reason.trim() || null } });
  };
}

function tasks(count: number): string {
  return `${count.toLocaleString()} ${count === 1 ? "task" : "tasks"}`;
}
