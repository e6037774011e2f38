// Task: the page at this address.
// It must not know the shell around it.

import { PageHead } from "../parts/page";

export function TaskPage({ id }: { id: string }) {
  return (
    <div class="page">
      <PageHead title="Task" />
      <p class="faint">{id}</p>
    </div>
  );
}
