// Button: something that can be pressed, and cannot be pressed twice while it works.
// It must not know what happens then.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Icon, type IconName } from "./icon";

interface ButtonProps {
  children?: ComponentChildren;
  /** primary: the one thing to do here; danger: it cannot be taken back; quiet: beside the matter. */
  look?: "primary" | "plain" | "danger" | "quiet";
  icon?: IconName;
  /** For a button without words. */
  label?: string;
  type?: "button" | "submit";
  disabled?: boolean;
  /** Shown at the end, as it is typed. */
  shortcut?: string;
  pressed?: boolean;
  small?: boolean;
  busy?: boolean;
  onPress?: () => unknown;
}

export function Button(props: ButtonProps) {
  const { children, look = "plain", icon, label, type = "button", shortcut, pressed, small, onPress } = props;
  const [working, setWorking] = useState(false);
  const busy = working || props.busy;
  const press = async () => {
    if (busy) return;
    const answer = onPress?.();
    if (!(answer instanceof Promise)) return;
    setWorking(true);
    await answer.finally(() => setWorking(false));
  };
  return (
    <button
      type={type}
      class={`button ${look}${small ? " small" : ""}${children ? "" : " bare"}`}
      disabled={props.disabled}
      aria-label={label}
      title={label}
      aria-pressed={pressed}
      aria-busy={busy || undefined}
      aria-disabled={busy || undefined}
      onClick={onPress && press}
    >
      {icon && <Icon name={icon} />}
      {children}
      {/* biome-ignore lint/a11y/noAriaHiddenOnFocusable: it is no part of the button's name, and takes no focus */}
      {shortcut && <kbd aria-hidden="true">{shortcut}</kbd>}
    </button>
  );
}
