// Dialogs: what is asked before an act on a task is done.
// It must not know how the acts are told to the server.

import { useEffect, useState } from "preact/hooks";
import type { Task } from "../described";
import { Button } from "../parts/button";
import { Dialog, Ends, useOnce } from "../parts/dialog";
import { Field, TextField } from "../parts/field";
import { isMe, me } from "../session";
import { cancel, fail, progress, reassign, release } from "./acts";
import { type Allowed, type Asked, isHeld, isPossible } from "./allowed";

interface DialogProps {
  task: Task;
  put: (task: Task) => void;
  onClose: () => void;
}

export function TaskDialog({ name, ...props }: DialogProps & { name: Asked }) {
  switch (name) {
    case "release":
      return <ReleaseDialog {...props} />;
    case "progress":
      return <ProgressDialog {...props} />;
    case "fail":
      return <FailDialog {...props} />;
    case "reassign":
      return <ReassignDialog {...props} />;
    case "cancel":
      return <CancelDialog {...props} />;
  }
}

/** The dialog that is open, while it still makes sense: somebody else may have acted meanwhile. */
export function useDialog(can: Allowed): [Asked | null, (next: Asked | null) => void] {
  const [open, setOpen] = useState<Asked | null>(null);
  const moot = open !== null && !isPossible(open, can);
  useEffect(() => {
    if (moot) setOpen(null);
  }, [moot]);
  return [moot ? null : open, setOpen];
}

function ReleaseDialog({ task, put, onClose }: DialogProps) {
  const submit = useOnce(() => release(task, put), onClose);
  return (
    <Dialog
      title="Release this task?"
      onClose={onClose}
      onSubmit={submit}
      actions={<Ends act="Release" onClose={onClose} />}
    >
      <p>It goes back to those who may take it, without a result. Your draft stays in this tab.</p>
    </Dialog>
  );
}

function ProgressDialog({ task, put, onClose }: DialogProps) {
  const [percent, setPercent] = useState(Math.round(task.progress));
  const [message, setMessage] = useState(task.progress_message ?? "");
  const submit = useOnce(() => progress(task, put, percent, message), onClose);
  return (
    <Dialog
      title="Report progress"
      onClose={onClose}
      onSubmit={submit}
      actions={<Ends act="Report" onClose={onClose} />}
    >
      <Field label={`${percent} %`}>
        {(ties) => (
          <input
            {...ties}
            type="range"
            min={0}
            max={100}
            step={5}
            value={percent}
            aria-label="Percent"
            onInput={(event) => setPercent(Number(event.currentTarget.value))}
          />
        )}
      </Field>
      <TextField label="Message" optional value={message} maxLength={8192} onText={setMessage} />
    </Dialog>
  );
}

function FailDialog({ task, put, onClose }: DialogProps) {
  const [reason, setReason] = useState("");
  const [again, setAgain] = useState(true);
  const [missing, setMissing] = useState(false);
  const left = task.max_retries - task.retry_count;
  const submit = useOnce(() => fail(task, put, reason, again), onClose);
  return (
    <Dialog
      title="Fail this task"
      onClose={onClose}
      onSubmit={() => (reason.trim() ? submit() : setMissing(true))}
      actions={<Ends act="Fail" danger onClose={onClose} />}
    >
      <Field
        label="Reason"
        error={missing && !reason.trim() ? "Say why: it is what others will read." : null}
      >
        {(ties) => (
          <textarea
            {...ties}
            rows={3}
            autofocus
            value={reason}
            maxLength={8192}
            onInput={(event) => setReason(event.currentTarget.value)}
          />
        )}
      </Field>
      {left > 0 && (
        <label class="pick alone">
          <input
            type="checkbox"
            checked={again}
            onChange={(event) => setAgain(event.currentTarget.checked)}
          />
          <span>
            It may be tried again
            <span class="help">{left === 1 ? "One retry is left." : `${left} retries are left.`}</span>
          </span>
        </label>
      )}
    </Dialog>
  );
}

function ReassignDialog({ task, put, onClose }: DialogProps) {
  const groups = (me.value?.groups ?? []).map((group) => `group:${group}`);
  const [to, setTo] = useState("");
  const [missing, setMissing] = useState(false);
  const held = isHeld(task) && task.assigned_to !== null;
  const toName = useOnce(() => reassign(task, put, to.trim()), onClose);
  const toAnybody = useOnce(() => reassign(task, put, null), onClose);
  return (
    <Dialog
      title="Reassign"
      onClose={onClose}
      onSubmit={() => (to.trim() ? toName() : setMissing(true))}
      actions={
        <>
          <Button onPress={toAnybody}>To anybody</Button>
          <Button look="primary" type="submit">
            Reassign
          </Button>
        </>
      }
    >
      {held && (
        <p class="notice">
          {isMe(task.assigned_to)
            ? "You hold this task: it leaves your hands."
            : `${task.assigned_to} holds this task: it leaves their hands, and what they send later is refused.`}
        </p>
      )}
      <Field
        label="To"
        help="The name of a person or program, or group:NAME."
        error={missing && !to.trim() ? "Say to whom." : null}
      >
        {(ties) => (
          <>
            <input
              {...ties}
              type="text"
              autocomplete="off"
              autofocus
              spellcheck={false}
              maxLength={256}
              list={`${ties.id}-known`}
              value={to}
              onInput={(event) => setTo(event.currentTarget.value)}
            />
            <datalist id={`${ties.id}-known`}>
              {[me.value?.subject ?? "", ...groups].map((name) => (
                <option key={name} value={name} />
              ))}
            </datalist>
          </>
        )}
      </Field>
    </Dialog>
  );
}

function CancelDialog({ task, put, onClose }: DialogProps) {
  const [reason, setReason] = useState("");
  const submit = useOnce(() => cancel(task, put, reason), onClose);
  return (
    <Dialog
      title="Cancel this task?"
      onClose={onClose}
      onSubmit={submit}
      actions={<Ends act="Cancel the task" danger onClose={onClose} />}
    >
      <p>What it is doing is stopped, and tasks that depend on it are cancelled too.</p>
      <TextField label="Reason" optional value={reason} maxLength={8192} onText={setReason} />
    </Dialog>
  );
}
