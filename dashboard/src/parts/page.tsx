// Page: the head that every page has: its title, what belongs beside it, and its actions.
// It must not know which page it is.

import type { ComponentChildren } from "preact";

interface PageHeadProps {
  title: ComponentChildren;
  /** Small words below the title. */
  beneath?: ComponentChildren;
  /** Where it belongs, above the title: a link back. */
  above?: ComponentChildren;
  /** Buttons and filters at the end of the line. */
  children?: ComponentChildren;
}

export function PageHead({ title, beneath, above, children }: PageHeadProps) {
  return (
    <header class="page-head">
      <div class="page-title">
        {above && <div class="page-above">{above}</div>}
        <h1>{title}</h1>
        {beneath && <div class="page-beneath">{beneath}</div>}
      </div>
      {children && <div class="page-tools">{children}</div>}
    </header>
  );
}
