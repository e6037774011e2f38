// Board: the page at this address.
// It must not know the shell around it.

import { PageHead } from "../parts/page";

export function BoardPage() {
  return (
    <div class="page">
      <PageHead title="Board" />
    </div>
  );
}
