// Inbox: the page at this address.
// It must not know the shell around it.

import { PageHead } from "../parts/page";

export function InboxPage({ id }: { id: string | null }) {
  return (
    <div class="page">
      <PageHead title="Inbox" />
      <p class="faint">{id}</p>
    </div>
  );
}
