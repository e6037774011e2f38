"""Ownership: whose a task is to change, to cancel or to run again, where somebody acts who may not act for others.

It must not know what is done to it, nor roles: `names` says as whom somebody may act.
"""

from durable_tasks.errors import Forbidden
from durable_tasks.lifecycle import TERMINAL, Verb
from durable_tasks.models import Mode
from durable_tasks.store.rows import STATES, Row
from durable_tasks.store.transaction import Transaction


def require_own(tx: Transaction, row: Row, verb: Verb) -> None:
    """Raise Forbidden when the task is held by somebody else, or is reserved for others and not the actor's own
    making. What nobody holds, and what is reserved for nobody, is everybody's."""
    if tx.names is None:
        return
    holder = _holder(row)
    whose = holder or row["reserved_for"]
    if whose is None or whose in tx.names or (holder is None and row["created_by"] in tx.names):
        return
    how = "reserved for" if holder is None else "held by"
    who = f"{whose!r}, who created it," if holder is None else f"{whose!r}"
    raise Forbidden(
        f"task {row['id']} is {how} {whose!r}; only {who} or an operator may {verb} it, or give it to somebody else",
        operation=verb.value,
        role="operator",
        task_id=row["id"],
    )


def _holder(row: Row) -> str | None:
    """Who works on it: a handler is nobody, and after its end nobody does."""
    if row["mode"] != Mode.MANUAL.value or STATES[row["state"]] in TERMINAL:
        return None
    holder: str | None = row["assigned_to"]
    return holder
