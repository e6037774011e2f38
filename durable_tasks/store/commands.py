"""What was already done: idempotency keys of creating calls, and the first answers of repeated commands.

It must not know what the calls do.
"""

from typing import Any, NamedTuple

from durable_tasks.errors import IdempotencyConflict
from durable_tasks.store.rows import canonical_hash, dump, dump_actor, load
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


NEXT = "next\n"
"""Before the id of a command that looked for its task: among those of the task that it found."""


class Command(NamedTuple):
    """A command that is done once: its id among those of its task or workflow, and the hash of what it asks."""

    id: str
    verb: str
    content: str

    @property
    def given(self) -> str:
        """Its id as its caller gave it."""
        return self.id.removeprefix(NEXT) if self.verb == "next" else self.id

    @property
    def operation(self) -> str:
        return "next_task" if self.verb == "next" else self.verb


def command(command_id: str | None, verb: str, *content: Any) -> Command | None:
    """`content`: all that decides what the command does, but for a token: whoever repeats what has ended his attempt
    may have none any more."""
    return None if command_id is None else Command(command_id, verb, canonical_hash(content))


def first_answer(tx: Transaction, subject_id: str, asked: Command | None) -> Any:
    """The answer that this command got before, or None. Refused commands are not remembered: they changed nothing.
    Raises IdempotencyConflict when it was another command, or another caller's: each answer is its own caller's.

    `subject_id`: a task, or a workflow, whose ids never meet."""
    if asked is None:
        return None
    sql = "SELECT verb, content, caller, answer FROM dt_commands WHERE task_id = ? AND command_id = ?"
    found = tx.one(sql, (subject_id, asked.id))
    if found is None:
        return None
    verb, content, caller, answer = found
    # Nobody wrote down whose it was. It says no more than its task, which all of the organisation may read, and to
    # refuse it would have what was done be done again; claims, whose tokens are secrets, are looked at by their verb.
    of_earlier_release = content is None
    if verb != asked.verb:
        raise conflict(subject_id, asked, f"was used for {verb} on {subject_id}; use a new one for {asked.verb}")
    if not of_earlier_release and (content, caller) != (asked.content, dump_actor(tx.actor)):
        raise conflict(subject_id, asked)
    return load(answer)


def conflict(subject_id: str, asked: Command, why: str | None = None) -> IdempotencyConflict:
    """What the caller is told whose command is not the one that its id names."""
    why = why or f"was used for another {asked.operation} on {subject_id}, or by somebody else; use a new one"
    said = f"the command id {asked.given!r} {why}"
    return IdempotencyConflict(said, key=asked.given, operation=asked.operation, id=subject_id)


def remember_answer(tx: Transaction, subject_id: str, asked: Command | None, answer: Any) -> None:
    if asked is not None:
        tx.run(
            "INSERT INTO dt_commands (task_id, command_id, verb, answer, at, caller, content)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (subject_id, asked.id, asked.verb, dump(answer), tx.now, dump_actor(tx.actor), asked.content),
        )


def forget_answer(tx: Transaction, subject_id: str, command_id: str | None) -> None:
    tx.run("DELETE FROM dt_commands WHERE task_id = ? AND command_id = ?", (subject_id, command_id))
