// Value: any JSON value for people to read: fields with their names, links that can be followed, text as it is.
// It must not know where the value comes from; what it says is never more than text and links.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { written } from "../exact";
import { worded } from "../words";
import { Button } from "./button";
import { Icon } from "./icon";
import { attempt } from "./toasts";

const LINK = /^(https?:\/\/|mailto:)\S+$/i;
const FILE = /\.(pdf|docx?|xlsx?|csv|txt|md|png|jpe?g|gif|svg|webp|zip|json|html?|mp4|mp3)([?#]|$)/i;
const SHORT = 12;
/** Fields that are shown at first. */
const MANY = 60;
const DEEPEST = 6;

interface ValueProps {
  value: unknown;
  label: string;
  /** Whether the JSON is shown at first. */
  raw?: boolean;
}

/** `value` with a switch to the JSON as it is. */
export function Value({ value, label, raw: rawFirst = false }: ValueProps) {
  const [raw, setRaw] = useState(rawFirst);
  if (value === null || value === undefined) return <p class="faint">none</p>;
  const text = () => written(value, 2);
  return (
    <div class="value">
      {raw ? (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <pre class="raw" tabIndex={0}>
          {text()}
        </pre>
      ) : (
        <Shown value={value} depth={0} />
      )}
      {typeof value === "object" && (
        <p class="value-tools">
          <Button look="quiet" small pressed={raw} onPress={() => setRaw(!raw)}>
            JSON
          </Button>
          <Button
            look="quiet"
            small
            icon="copy"
            label={`Copy ${label}`}
            onPress={() => attempt(() => navigator.clipboard.writeText(text()), "Copied")}
          >
            Copy
          </Button>
        </p>
      )}
    </div>
  );
}

function Shown({ value, depth }: { value: unknown; depth: number }): ComponentChildren {
  if (value === null || value === undefined) return <span class="faint">none</span>;
  if (typeof value === "string") return <Text text={value} />;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "bigint") return <span class="number">{String(value)}</span>;
  if (typeof value === "number")
    return <span class="number">{value.toLocaleString(undefined, NUMBERS)}</span>;
  if (depth >= DEEPEST) return <code>{written(value)}</code>;
  if (Array.isArray(value)) return <List items={value} depth={depth} />;
  return <Fields fields={Object.entries(value)} depth={depth} />;
}

/** Small ones may be numbers of orders: "4,711" is none. */
const NUMBERS: Intl.NumberFormatOptions = { maximumFractionDigits: 20, useGrouping: "min2" };

function Text({ text }: { text: string }) {
  if (LINK.test(text)) return <Link to={text} />;
  if (text === "") return <span class="faint">empty</span>;
  return <span class="text">{withLinks(text)}</span>;
}

/** Text in which addresses can be followed. */
export function withLinks(text: string): ComponentChildren {
  const parts = text.split(/(https?:\/\/[^\s<>"')\]]+)/g);
  return parts.map((part, at) => (at % 2 ? <Link key={at} to={part} inline /> : part));
}

/** `inline`: in the middle of a text. */
function Link({ to, inline = false }: { to: string; inline?: boolean }) {
  const file = FILE.test(to) && !inline;
  const name = file ? decodedName(to) : to.replace(/^(https?:\/\/|mailto:)/, "");
  return (
    <a class={file ? "file-link" : undefined} href={to} target="_blank" rel="noreferrer noopener" title={to}>
      {!inline && <Icon name={file ? "file" : "out"} size={14} />}
      {name}
    </a>
  );
}

function decodedName(address: string): string {
  const name = address.split(/[?#]/)[0]?.split("/").pop() || address;
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

function List({ items, depth }: { items: readonly unknown[]; depth: number }) {
  const [all, setAll] = useState(false);
  if (items.length === 0) return <span class="faint">empty list</span>;
  if (items.length <= SHORT && items.every(isShort))
    return <span class="text">{items.map(String).join(", ")}</span>;
  const shown = all ? items : items.slice(0, SHORT);
  return (
    <>
      <ul class="value-list">
        {shown.map((item, at) => (
          <li key={at}>
            <Shown value={item} depth={depth + 1} />
          </li>
        ))}
      </ul>
      {items.length > shown.length && (
        <Button look="quiet" small onPress={() => setAll(true)}>
          {items.length - shown.length} more
        </Button>
      )}
    </>
  );
}

/** What can stand in one line with others. */
const isShort = (item: unknown) =>
  typeof item === "number" ||
  (typeof item === "string" && item.length <= 24 && item !== "" && !LINK.test(item));

function Fields({ fields, depth }: { fields: readonly (readonly [string, unknown])[]; depth: number }) {
  const [all, setAll] = useState(false);
  if (fields.length === 0) return <span class="faint">nothing</span>;
  const shown = all ? fields : fields.slice(0, MANY);
  const list = (
    <dl class="value-fields">
      {shown.map(([name, value]) => (
        <div key={name}>
          <dt>{worded(name)}</dt>
          <dd>
            <Shown value={value} depth={depth + 1} />
          </dd>
        </div>
      ))}
    </dl>
  );
  if (fields.length === shown.length) return list;
  return (
    <>
      {list}
      <Button look="quiet" small onPress={() => setAll(true)}>
        {fields.length - shown.length} more
      </Button>
    </>
  );
}
