"""Bulk: cancelling or retrying what a filter means, page by page, in transactions so small that others pass between.

It must not know how tasks are found or changed.
"""

from dataclasses import dataclass

from durable_tasks.errors import InvalidInput
from durable_tasks.lifecycle import FROM, Verb
from durable_tasks.models import Changed, Page, TaskFilter
from durable_tasks.store.store import Store

STEP = 50
"""Tasks that one transaction changes. It asks for them by their ids, so no more than MAX_IDS."""
_LOOKS = 20
"""Reads of one call: each looks at so many rows only, and may find nothing though there is more."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """What to do to which tasks, and how far one call goes."""

    verb: Verb
    wanted: TaskFilter
    limit: int
    cursor: str | None = None
    reason: str | None = None

    async def foresee(self, store: Store, org_id: str) -> Changed:
        """How many tasks there are to be changed, on this page and all that follow."""
        meant = self._meant()
        if meant is None:
            return Changed(dry_run=True, matched=0, changed=0, more=False)
        counted = await store.count(org_id, meant)
        return Changed(dry_run=True, matched=sum(counted.counts.values()), changed=0, more=not counted.complete)

    async def change(self, store: Store, org_id: str, found: Page[str]) -> Changed:
        """Change each of those that `find` has found as if it were the only one: one that refuses holds up no other."""
        ids, more = found
        meant, changed = self._meant(), 0
        for start in range(0, len(ids), STEP):
            assert meant is not None
            step = meant.model_copy(update={"ids": tuple(ids[start : start + STEP])})
            changed += await store.change_many(org_id, self.verb, step, self.reason)
        return Changed(dry_run=False, matched=len(ids), changed=changed, more=more is not None, next_cursor=more)

    async def find(self, store: Store, org_id: str) -> Page[str]:
        """The ids of a page of those that are to be changed."""
        found: list[str] = []
        meant = self._meant()
        if meant is None:
            return Page(found, None)
        cursor = self.cursor
        for _ in range(_LOOKS):
            page = await store.page_ids(org_id, meant, limit=self.limit - len(found), cursor=cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None or len(found) == self.limit:
                break
        return Page(found, cursor)

    def _meant(self) -> TaskFilter | None:
        """The filter within the states that the verb leads out of; None when none of those is wanted. Raises
        InvalidInput for what would mean every task there is."""
        if self.wanted == TaskFilter():
            raise InvalidInput(f"say which tasks to {self.verb}: give at least one filter", verb=self.verb.value)
        states = tuple(sorted(FROM[self.verb].intersection(self.wanted.state or FROM[self.verb])))
        return self.wanted.model_copy(update={"state": states}) if states else None
