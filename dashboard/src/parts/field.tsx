// Field: a question with its label, its help and what is wrong with the answer, tied together for everybody.
// It must not know what is asked.

import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

interface FieldProps {
  label: ComponentChildren;
  help?: ComponentChildren;
  error?: string | null;
  optional?: boolean;
  /** The control, given what ties it to its label. */
  children: (ties: FieldTies) => ComponentChildren;
}

export interface FieldTies {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": "true" | undefined;
}

export function Field({ label, help, error, optional, children }: FieldProps) {
  const id = useId();
  const described = [help ? `${id}-help` : "", error ? `${id}-error` : ""].filter(Boolean).join(" ");
  return (
    <div class={error ? "field wrong" : "field"}>
      <label for={id}>
        {label}
        {optional && <span class="optional">optional</span>}
      </label>
      {help && (
        <p class="help" id={`${id}-help`}>
          {help}
        </p>
      )}
      {children({
        id,
        "aria-describedby": described || undefined,
        "aria-invalid": error ? "true" : undefined,
      })}
      {error && (
        <p class="wrong-text" id={`${id}-error`}>
          {error}
        </p>
      )}
    </div>
  );
}

interface TextProps {
  label: ComponentChildren;
  help?: ComponentChildren;
  error?: string | null;
  optional?: boolean;
  value: string;
  secret?: boolean;
  placeholder?: string;
  autofocus?: boolean;
  spellcheck?: boolean;
  maxLength?: number;
  onText: (text: string) => void;
}

/** The commonest: one line of text. */
export function TextField({ label, help, error, optional, secret, onText, ...input }: TextProps) {
  return (
    <Field label={label} help={help} error={error} optional={optional}>
      {(ties) => (
        <input
          autocomplete="off"
          type={(secret ? "password" : "text") as "text"}
          {...input}
          {...ties}
          onInput={(event) => onText(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}
