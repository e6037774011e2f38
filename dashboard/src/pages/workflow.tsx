// Workflow: the page at this address.
// It must not know the shell around it.

import { PageHead } from "../parts/page";

export function WorkflowPage({ id }: { id: string }) {
  return (
    <div class="page">
      <PageHead title="Workflow" />
      <p class="faint">{id}</p>
    </div>
  );
}
