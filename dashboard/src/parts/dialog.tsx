// Dialog: a question in front of the page. The browser keeps the focus inside and gives it back.
// It must not know what is asked.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Button } from "./button";

interface DialogProps {
  title: string;
  children: ComponentChildren;
  /** Its buttons. */
  actions?: ComponentChildren;
  wide?: boolean;
  onClose: () => void;
  /** Makes a form of it: Enter in a field submits. */
  onSubmit?: () => unknown;
}

/** What was come for; the button that closes stands before it. */
const FIRST = ".dialog-content :is(input, textarea, select, button):not(:disabled)";
/** Where another look is needed, once that was said. */
const WRONG = "[aria-invalid='true']";

export function Dialog({ title, children, actions, wide, onClose, onSubmit }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    const first =
      dialog?.querySelector<HTMLElement>("[autofocus]") ?? dialog?.querySelector<HTMLElement>(FIRST);
    (first ?? dialog?.querySelector<HTMLElement>("footer [type=submit]"))?.focus();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      class={wide ? "dialog wide" : "dialog"}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      // Beside the dialog is out of it, unless something may have been typed.
      onMouseDown={(event) => event.target === element.current && !onSubmit && onClose()}
    >
      <form
        class="dialog-body"
        method="dialog"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          onSubmit?.();
          requestAnimationFrame(() => element.current?.querySelector<HTMLElement>(WRONG)?.focus());
        }}
      >
        <header>
          <h2 id={id}>{title}</h2>
          <Button look="quiet" icon="close" label="Close" onPress={onClose} />
        </header>
        <div class="dialog-content">{children}</div>
        {actions && <footer>{actions}</footer>}
      </form>
    </dialog>
  );
}

interface EndsProps {
  act: string;
  back?: string;
  danger?: boolean;
  onClose: () => void;
}

/** The two buttons at the end: back, and what was come for. */
export function Ends({ act, back = "Back", danger, onClose }: EndsProps) {
  return (
    <>
      <Button onPress={onClose}>{back}</Button>
      <Button look={danger ? "danger" : "primary"} type="submit">
        {act}
      </Button>
    </>
  );
}

/** Submits once, and closes when that went well. */
export function useOnce(act: () => Promise<boolean>, onClose: () => void): () => Promise<void> {
  const [working, setWorking] = useState(false);
  return async () => {
    if (working) return;
    setWorking(true);
    const well = await act();
    setWorking(false);
    if (well) onClose();
  };
}
