// A button that opens a menu of values to choose from, some to be typed. The browser closes it: Escape, or a press beside it.
// It must not know what is chosen.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "../parts/icon";

export interface Option {
  value: string;
  label: ComponentChildren;
}

interface MenuProps {
  /** What is chosen here: "Priority". */
  name: string;
  icon?: IconName;
  options: readonly Option[];
  chosen: readonly string[];
  /** What the button says instead of its name once something is chosen. */
  summary?: string;
  /** Values that are no option may be typed; this is asked for. */
  typed?: string;
  many?: boolean;
  onChange: (chosen: string[]) => void;
}

export function Menu(props: MenuProps) {
  const { name, chosen } = props;
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState(false);
  useEffect(() => {
    if (open) panel.current?.querySelector<HTMLElement>("input, button")?.focus();
  }, [open]);
  return (
    <div class="menu">
      <button
        ref={button}
        type="button"
        class={chosen.length ? "button small menu-button chosen" : "button small menu-button"}
        popovertarget={id}
        aria-expanded={open}
      >
        {props.icon && <Icon name={props.icon} size={14} />}
        <span class="clip">{chosen.length ? `${name}: ${props.summary ?? chosen.join(", ")}` : name}</span>
        <Icon name="chevron" size={12} class="menu-arrow" />
      </button>
      <div
        ref={panel}
        id={id}
        class="menu-panel"
        popover="auto"
        role="group"
        aria-label={name}
        onToggle={(event) => setOpen(event.newState === "open")}
        onBeforeToggle={() => placed(button.current, panel.current)}
        onKeyDown={(event) => step(event, panel.current)}
      >
        {open && <Choices {...props} close={() => panel.current?.hidePopover()} />}
      </div>
    </div>
  );
}

function Choices({ options, chosen, many, typed, onChange, close }: MenuProps & { close: () => void }) {
  const [text, setText] = useState("");
  const wanted = text.trim();
  const extra = chosen.filter((value) => !options.some((option) => option.value === value));
  const all: Option[] = [...extra.map((value) => ({ value, label: value })), ...options];
  const shown = all.filter(({ value }) => value.toLowerCase().includes(wanted.toLowerCase()));
  const isNew = wanted !== "" && !all.some(({ value }) => value === wanted);
  const choose = (value: string) => {
    const others = chosen.filter((each) => each !== value);
    onChange(others.length < chosen.length ? others : many ? [...others, value] : [value]);
    setText("");
    if (!many) close();
  };
  return (
    <>
      {typed && (
        <form
          class="menu-typed"
          onSubmit={(event) => {
            event.preventDefault();
            if (wanted) choose(wanted);
          }}
        >
          <input
            type="text"
            aria-label={typed}
            placeholder={typed}
            value={text}
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </form>
      )}
      <ul class="menu-options">
        {shown.map(({ value, label }) => (
          <Choice key={value} label={label} chosen={chosen.includes(value)} onChoose={() => choose(value)} />
        ))}
        {isNew && <Choice label={`Only “${wanted}”`} chosen={false} onChoose={() => choose(wanted)} />}
      </ul>
      {chosen.length > 0 && (
        <button
          type="button"
          class="menu-clear"
          onClick={() => {
            onChange([]);
            close();
          }}
        >
          Any
        </button>
      )}
    </>
  );
}

interface ChoiceProps {
  label: ComponentChildren;
  chosen: boolean;
  onChoose: () => void;
}

function Choice({ label, chosen, onChoose }: ChoiceProps) {
  return (
    <li>
      <button type="button" aria-pressed={chosen} onClick={onChoose}>
        <span class="menu-label">{label}</span>
        {chosen && <Icon name="check" size={14} />}
      </button>
    </li>
  );
}

/** Beneath its button, as far as the window allows. */
function placed(button: HTMLElement | null, panel: HTMLElement | null): void {
  if (!button || !panel) return;
  const { left, bottom } = button.getBoundingClientRect();
  panel.style.left = `${Math.max(8, Math.min(left, innerWidth - 256))}px`;
  panel.style.top = `${bottom + 4}px`;
}

function step(event: KeyboardEvent, panel: HTMLElement | null): void {
  // What is pressed in the menu is not meant for the page behind it.
  event.stopPropagation();
  const direction = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  if (direction === 0 || !panel) return;
  event.preventDefault();
  const places = [...panel.querySelectorAll<HTMLElement>("input, button")];
  const at = places.indexOf(document.activeElement as HTMLElement);
  places[(at + direction + places.length) % places.length]?.focus();
}
