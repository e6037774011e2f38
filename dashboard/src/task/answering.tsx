// Answering: the output of a task, asked with the form that its creator gave it, or freely; and its completion.
// It must not know how a form looks.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type FieldError, Refused, said } from "../api";
import type { Task } from "../described";
import { keepDraft, draft as keptDraft } from "../drafts";
import { answer, begin, type Draft, placed } from "../forms/answer";
import { Form, focusFirstWrong } from "../forms/form";
import { type Question, questionOf } from "../forms/question";
import { Button } from "../parts/button";
import { complete } from "./acts";

const FREE: Question = {
  kind: "text",
  look: "lines",
  title: "Result",
  help: "What others will read as this task's output.",
  nullable: true,
  initial: undefined,
  shortest: 0,
  longest: null,
};
const RAW: Question = { ...FREE, kind: "json", help: "" };

interface Kept {
  draft: Draft;
  raw: boolean;
}

interface AnsweringProps {
  task: Task;
  /** Whether it can be answered now; else it shows what will be asked. */
  open: boolean;
  put: (task: Task) => void;
}

export function Answering({ task, open, put }: AnsweringProps) {
  const asked = useMemo(() => (task.form ? questionOf(task.form) : null), [task.form]);
  const [{ draft, raw }, setKept] = useState<Kept>(
    () => keptDraft<Kept>(task.id) ?? { draft: asked ? begin(asked) : "", raw: false },
  );
  const question = asked ?? (raw ? RAW : FREE);
  const [errors, setErrors] = useState<readonly FieldError[]>([]);
  const [refusal, setRefusal] = useState("");
  const [working, setWorking] = useState(false);
  const element = useRef<HTMLFormElement>(null);

  const keep = (next: Kept) => {
    setKept(next);
    keepDraft(task.id, next);
  };
  const refuse = (found: readonly FieldError[], why = "") => {
    setErrors(found);
    setRefusal(why);
  };
  useEffect(() => {
    if (errors.length > 0) focusFirstWrong(element.current);
  }, [errors]);

  const submit = async () => {
    if (working || !open) return;
    const { value, errors: found } = answer(question, draft);
    refuse(found);
    if (found.length > 0) return;
    setWorking(true);
    try {
      await complete(task, put, value);
      keepDraft(task.id, undefined);
    } catch (error) {
      const where = error instanceof Refused ? error.errors : [];
      refuse(where, where.length > 0 ? "" : said(error));
    } finally {
      setWorking(false);
    }
  };

  return (
    <form
      ref={element}
      class="answering"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void submit();
      }}
    >
      <fieldset class="asked" disabled={!open}>
        <legend class="visually-hidden">Your answer</legend>
        {errors.length > 1 && (
          <p class="notice bad" role="alert">
            {errors.length} answers need another look.
          </p>
        )}
        <Form
          question={question}
          draft={draft}
          errors={placed(question, draft, errors)}
          onDraft={(next) => keep({ draft: next, raw })}
        />
        {!asked && (
          <p class="answering-look">
            <Button look="quiet" small pressed={!raw} onPress={() => keep({ draft, raw: false })}>
              Text
            </Button>
            <Button look="quiet" small pressed={raw} onPress={() => keep({ draft, raw: true })}>
              JSON
            </Button>
          </p>
        )}
      </fieldset>
      {refusal && (
        <p class="notice bad" role="alert">
          {refusal}
        </p>
      )}
      {open && (
        <p class="answering-end">
          <Button look="primary" type="submit" icon="check" busy={working}>
            Complete
          </Button>
          <span class="help keyboard-only">
            <kbd>Ctrl</kbd> <kbd>Enter</kbd>
          </span>
        </p>
      )}
    </form>
  );
}
