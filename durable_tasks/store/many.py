"""Changing many tasks in one transaction, each as the verb of one task does it.

It must not know which tasks are to be tried, nor how many transactions that takes.
"""

from collections.abc import Callable, Mapping

from durable_tasks.errors import Conflict, Forbidden
from durable_tasks.lifecycle import Verb
from durable_tasks.models import Task, TaskFilter
from durable_tasks.store import claims, listing
from durable_tasks.store.file import settled
from durable_tasks.store.transaction import Transaction

Change = Callable[[Transaction, str, str, str | None], Task]

_VERBS: Mapping[Verb, Change] = {
    Verb.CANCEL: claims.cancel,
    Verb.RETRY: lambda tx, org_id, task_id, reason: claims.retry(tx, org_id, task_id),
}


def change(tx: Transaction, org_id: str, verb: Verb, wanted: TaskFilter, reason: str | None) -> int:
    """Do it to each of `wanted.ids` that fits now, and say to how many: since they were looked for, somebody may have
    moved some, and moving one may have moved others."""
    return sum(
        _fits(tx, org_id, wanted, task_id) and _done(tx, org_id, verb, task_id, reason) for task_id in wanted.ids
    )


def _fits(tx: Transaction, org_id: str, wanted: TaskFilter, task_id: str) -> bool:
    one = wanted.model_copy(update={"ids": (task_id,)})
    return bool(listing.ids(tx.conn, org_id, one, now=tx.now, limit=1, cursor=None).items)


def _done(tx: Transaction, org_id: str, verb: Verb, task_id: str, reason: str | None) -> bool:
    try:
        settled(tx, lambda tx: _VERBS[verb](tx, org_id, task_id, reason))
    except (Conflict, Forbidden):  # said before anything was written: it stays as it is
        return False
    return True
