"""What was already done: idempotency keys of creating calls, and the first answers of repeated commands.

It must not know what the calls do.
"""

from typing import Any

from durable_tasks.errors import IdempotencyConflict
from durable_tasks.store.rows import dump, load
from durable_tasks.store.transaction import Transaction


def known_key(tx: Transaction, org_id: str, operation: str, key: str | None, content: str) -> str | None:
    """The id that this key made before, or None. Raises IdempotencyConflict when its content was another."""
    if key is None:
        return None
    found = tx.one(
        "SELECT content, subject_id FROM dt_idempotency WHERE org_id = ? AND operation = ? AND key = ?",
        (org_id, operation, key),
    )
    if found is None:
        return None
    if found[0] != content:
        raise IdempotencyConflict(
            f"the idempotency key {key!r} was used for {found[1]} with other content; use a new key",
            key=key,
            operation=operation,
            id=found[1],
        )
    return str(found[1])


def remember_key(tx: Transaction, org_id: str, operation: str, key: str | None, content: str, subject_id: str) -> None:
    if key is not None:
        tx.run("INSERT INTO dt_idempotency VALUES (?, ?, ?, ?, ?)", (org_id, operation, key, content, subject_id))


def forget_key(tx: Transaction, org_id: str, operation: str, key: str | None) -> None:
    tx.run("DELETE FROM dt_idempotency WHERE org_id = ? AND operation = ? AND key = ?", (org_id, operation, key))


def first_answer(tx: Transaction, subject_id: str, command_id: str | None, verb: str) -> Any:
    """The answer that this command got before, or None. Refused commands are not remembered: they changed nothing.

    `subject_id`: a task, or a workflow, whose ids never meet."""
    if command_id is None:
        return None
    found = tx.one(
        "SELECT verb, answer FROM dt_commands WHERE task_id = ? AND command_id = ?", (subject_id, command_id)
    )
    if found is None:
        return None
    if found[0] != verb:
        raise IdempotencyConflict(
            f"the command id {command_id!r} was used for {found[0]} on {subject_id}; use a new one for {verb}",
            key=command_id,
            operation=verb,
            id=subject_id,
        )
    return load(found[1])


def forget_answer(tx: Transaction, subject_id: str, command_id: str | None) -> None:
    tx.run("DELETE FROM dt_commands WHERE task_id = ? AND command_id = ?", (subject_id, command_id))


def remember_answer(tx: Transaction, subject_id: str, command_id: str | None, verb: str, answer: Any) -> None:
    if command_id is not None:
        tx.run("INSERT INTO dt_commands VALUES (?, ?, ?, ?, ?)", (subject_id, command_id, verb, dump(answer), tx.now))
