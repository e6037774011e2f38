// Operations: the page at this address.
// It must not know the shell around it.

import { PageHead } from "../parts/page";

export function OperationsPage() {
  return (
    <div class="page">
      <PageHead title="Operations" />
    </div>
  );
}
