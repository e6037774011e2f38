"""Ownership: whose a task or workflow is to change, to cancel or to run again, where not everybody acts for others.

It must not know what is done to it, nor roles: `names` says as whom somebody may act.
"""

from durable_tasks.errors import Forbidden
from durable_tasks.lifecycle import TERMINAL, Verb
from durable_tasks.models import Mode
from durable_tasks.store.rows import STATES, TASK, Row, task_row
from durable_tasks.store.transaction import Transaction


def require_own(tx: Transaction, row: Row, verb: Verb) -> None:
    """Raise Forbidden when the task is held by somebody else, or is reserved for others and not the actor's own
    making. What nobody holds, and what is reserved for nobody, is everybody's.

    Once an attempt has failed, whoever created it may call it off, and ask the same again: but not give the task to
    himself, or change what it says, as if nobody had rejected it."""
    how = _of_others(tx, row)
    if how is None and verb is Verb.UPDATE and _was_rejected(tx, row):
        whose = row["reserved_for"]
        how = f"reserved for {whose!r}, and an attempt has failed; only {whose!r} or an operator"
    if how is not None:
        raise Forbidden(
            f"task {row['id']} is {how} may {verb} it, or give it to somebody else",
            operation=verb.value,
            role="operator",
            task_id=row["id"],
        )


def require_own_workflow(tx: Transaction, group: Row, verb: str) -> None:
    """Raise Forbidden when somebody else created the workflow and what would be done is another's, by the rule for
    tasks: what completed stays as it is."""
    if tx.names is None or group["created_by"] in tx.names:
        return
    members = tx.run(
        f"SELECT {TASK} FROM dt_tasks WHERE workflow_id = ? AND state <> 'completed'"
        " AND (assigned_to IS NOT NULL OR reserved_for IS NOT NULL)",
        (group["id"],),
    )
    for row in map(task_row, members):
        how = _of_others(tx, row)
        if how is not None:
            raise Forbidden(
                f"of workflow {group['id']}, task {row['id']} is {how}, or whoever created the workflow, may {verb} it",
                operation=verb,
                role="operator",
                id=group["id"],
            )


def _of_others(tx: Transaction, row: Row) -> str | None:
    """How it is another's, and who may act: None where the actor may."""
    if tx.names is None:
        return None
    holder = _holder(row)
    whose = holder or row["reserved_for"]
    if whose is None or whose in tx.names or (holder is None and row["created_by"] in tx.names):
        return None
    if holder is None:
        return f"reserved for {whose!r}; only {whose!r}, who created it, or an operator"
    return f"held by {whose!r}; only {whose!r} or an operator"


def _was_rejected(tx: Transaction, row: Row) -> bool:
    """By another than the actor."""
    if tx.names is None or row["reserved_for"] is None or row["reserved_for"] in tx.names:
        return False
    return tx.one("SELECT 1 FROM dt_attempts WHERE task_id = ? AND state = 'failed' LIMIT 1", (row["id"],)) is not None


def _holder(row: Row) -> str | None:
    """Who works on it: a handler is nobody, and after its end nobody does."""
    if row["mode"] != Mode.MANUAL.value or STATES[row["state"]] in TERMINAL:
        return None
    holder: str | None = row["assigned_to"]
    return holder
