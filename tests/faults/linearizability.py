"""Whether what several callers saw of one task could have happened call by call, each between its call and answer.
It must not know how the calls were made.

The search is Wing and Gong's (Testing and Verifying Concurrent Objects, 1993) with Lowe's memory of what was tried.
Tasks are independent objects, so a history is linearizable when that of each task is (Herlihy and Wing, 1990).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

PENDING, CLAIMED, RUNNING, COMPLETED = "pending", "claimed", "running", "completed"
HELD = (CLAIMED, RUNNING)


class Call(NamedTuple):
    """One call and its answer: `token` is what it gave or, of a claim, what it got; it was refused unless `ok`."""

    called: int
    answered: int
    """Nanoseconds of the machine's steady clock."""
    verb: str
    ok: bool
    token: str | None = None
    seen: Any = None
    """Of `get`: (state, attempt); of a claim: its attempt."""


class Task(NamedTuple):
    """A task as far as the calls tell of it."""

    state: str = PENDING
    token: str | None = None
    attempt: int = 0


def after(task: Task, call: Call) -> Task | None:
    """The task after the call; None when the call could not be answered like this."""
    match call.verb:
        case "get":
            return task if list(call.seen) == [task.state, task.attempt] else None
        case "claim":
            possible = task.state == PENDING
            if call.ok and possible and call.seen != task.attempt + 1:
                return None
            moved = Task(CLAIMED, call.token, task.attempt + 1)
        case "start":
            possible = task.state == CLAIMED and task.token == call.token
            moved = task._replace(state=RUNNING)
        case "release":
            possible = task.state in HELD and task.token == call.token
            moved = task._replace(state=PENDING, token=None)
        case "complete":  # again by the same hand: the first answer again
            possible = task.token == call.token and task.state in (*HELD, COMPLETED)
            moved = task._replace(state=COMPLETED)
        case _:
            raise ValueError(call.verb)
    if call.ok != possible:
        return None
    return moved if call.ok else task


def linearizable(calls: Sequence[Call]) -> bool:
    """Whether some order of the calls explains every answer, none before its call nor after its answer."""
    ordered = sorted(calls)
    tried: set[tuple[int, Task]] = set()
    everything = (1 << len(ordered)) - 1
    pending = [(0, Task())]
    while pending:
        done, task = pending.pop()
        if done == everything:
            return True
        for number in _next(ordered, done):
            moved = after(task, ordered[number])
            step = (done | 1 << number, moved)
            if moved is not None and step not in tried:
                tried.add(step)  # type: ignore[arg-type]
                pending.append((step[0], moved))
    return False


def _next(ordered: Sequence[Call], done: int) -> list[int]:
    """Calls that may come next: none that is still to come was answered before they were made."""
    found: list[int] = []
    earliest = None
    for number, call in enumerate(ordered):
        if done >> number & 1:
            continue
        if earliest is not None and call.called > earliest:
            break
        found.append(number)
        earliest = call.answered if earliest is None else min(earliest, call.answered)
    return found
