// Toasts: short news about what was just done, said aloud too, and gone by themselves.
// It must not know what was done.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { said } from "../api";
import { Button } from "./button";
import { Icon } from "./icon";

interface Toast {
  number: number;
  text: string;
  bad: boolean;
}

const STAYS = 5_000;
const STAYS_BAD = 12_000;

const shown = signal<readonly Toast[]>([]);
let number = 0;

export function tell(text: string, { bad = false } = {}): void {
  const toast = { number: ++number, text, bad };
  shown.value = [...shown.value.slice(-3), toast];
  setTimeout(() => dismiss(toast.number), bad ? STAYS_BAD : STAYS);
}

/** Tells why something could not be done. */
export const tellError = (error: unknown) => tell(said(error), { bad: true });

/** Does `act`, tells `done` when it went well and why when it did not. Whether it went well. */
export async function attempt(act: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await act();
  } catch (error) {
    tellError(error);
    return false;
  }
  if (done) tell(done);
  return true;
}

function dismiss(which: number): void {
  shown.value = shown.value.filter((toast) => toast.number !== which);
}

export function Toasts() {
  const element = useRef<HTMLDivElement>(null);
  const newest = shown.value.at(-1)?.number;
  // Shown again it lies over a dialog that was opened since.
  useEffect(() => {
    element.current?.hidePopover();
    element.current?.showPopover();
  }, [newest]);
  return (
    <div ref={element} class="toasts" popover="manual" role="status" aria-live="polite">
      {shown.value.map((toast) => (
        <div key={toast.number} class={toast.bad ? "toast bad" : "toast"}>
          <Icon name={toast.bad ? "alert" : "check"} />
          <p>{toast.text}</p>
          <Button look="quiet" small icon="close" label="Dismiss" onPress={() => dismiss(toast.number)} />
        </div>
      ))}
    </div>
  );
}
