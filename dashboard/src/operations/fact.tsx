// Fact: a line whose mark says whether it needs a person.
// It must not know what it is about.

import type { ComponentChildren } from "preact";
import { Icon } from "../parts/icon";

interface FactProps {
  name: string;
  good: boolean;
  children: ComponentChildren;
}

export function Fact({ name, good, children }: FactProps) {
  return (
    <div class={good ? "fact" : "fact bad"}>
      <dt>
        <Icon name={good ? "check" : "alert"} size={14} />
        {name}
      </dt>
      <dd>{children}</dd>
    </div>
  );
}
