// Find: a field for words to look for, told once the typing rests.
// It must not know what is looked for.

import { useEffect, useRef, useState } from "preact/hooks";
import { useKeys } from "../keys";
import { Icon } from "./icon";

interface FindProps {
  label: string;
  text: string;
  /** Milliseconds without a keystroke; 0: each letter is told. */
  rest?: number;
  /** Whether "/" leads here. */
  keyed?: boolean;
  onText: (text: string) => void;
}

export function Find({ label, text, rest = 250, keyed = false, onText }: FindProps) {
  const input = useRef<HTMLInputElement>(null);
  const [typed, setTyped] = useState(text);
  const told = useRef(text);
  useEffect(() => {
    if (text !== told.current) setTyped(text); // changed by something else, such as a link
    told.current = text;
  }, [text]);
  useEffect(() => {
    const wanted = typed.trim();
    if (wanted === told.current) return;
    const timer = setTimeout(() => {
      told.current = wanted;
      onText(wanted);
    }, rest);
    return () => clearTimeout(timer);
  }, [typed]);
  useKeys(keyed ? [{ key: "/", does: label, act: () => input.current?.select() }] : []);
  return (
    <label class="search">
      <Icon name="search" />
      <span class="visually-hidden">{label}</span>
      <input
        ref={input}
        type="search"
        placeholder={label}
        value={typed}
        maxLength={200}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => setTyped(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
      />
      {keyed && (
        <span class="search-key" aria-hidden="true">
          /
        </span>
      )}
    </label>
  );
}
