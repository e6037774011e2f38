// Person: whoever holds, wrote or asked for something: a person, a program, a group, or me.
// It must not know what they did.

import { isMe } from "../session";
import { Icon } from "./icon";

const GROUP = "group:";

/** `own`: also of me the name, not "you". */
export function Person({ name, own = false }: { name: string; own?: boolean }) {
  const group = name.startsWith(GROUP);
  return (
    <span class={isMe(name) ? "person me" : "person"} title={name}>
      {group ? <Icon name="people" size={14} /> : <Initials name={name} />}
      <span class="person-name">{isMe(name) && !own ? "you" : group ? name.slice(GROUP.length) : name}</span>
    </span>
  );
}

function Initials({ name }: { name: string }) {
  const words = name.split(/[\s._@-]+/).filter(Boolean);
  const letters = words.length > 1 ? `${words[0]?.[0]}${words[1]?.[0]}` : name.slice(0, 2);
  return (
    <span class={`initials tint-${tint(name)}`} aria-hidden="true">
      {letters.toUpperCase()}
    </span>
  );
}

/** One of six tints, always the same for a name. */
function tint(name: string): number {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 9973;
  return sum % 6;
}
