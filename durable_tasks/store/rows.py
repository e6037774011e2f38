"""Rows: how a task, attempt, workflow and event look in SQL, and the models made of them.

It must not know what is legal or what follows: mapping only.
"""

import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic_core import from_json, to_json

from durable_tasks.errors import InvalidInput, PayloadTooLarge
from durable_tasks.instants import utc
from durable_tasks.models import (
    Actor,
    Attempt,
    AttemptState,
    Engine,
    Event,
    Mode,
    Placement,
    Priority,
    RetryPolicy,
    Task,
    TaskError,
    TaskState,
    Workflow,
    WorkflowState,
)
from durable_tasks.wording import shown

Row = dict[str, Any]
Values = tuple[Any, ...]
T = TypeVar("T")
log = logging.getLogger("durable_tasks.store")

READY = "state = 'pending' AND stop_by IS NULL"
"""What the partial indexes of ready rows say; a query must say the same to use them."""

TASK_COLUMNS = (
    "seq", "id", "org_id", "space_id", "title", "name", "description", "capability", "mode", "placement", "engine",
    "generation", "state", "priority", "queue", "assigned_to", "reserved_for", "created_by", "workflow_id", "position",
    "parent_task_id", "correlation_id", "depends_on", "on_dependency_failure", "blocked_by", "labels", "metadata",
    "max_retries", "retry_count", "lost_count", "retry", "timeout", "not_before", "deadline_at", "wake_at", "ready_at",
    "attempt", "token", "process", "lease_expires_at", "lease", "timeout_at", "stop_by", "due_at", "version",
    "idempotency_key", "error", "reason", "progress", "progress_message", "progress_event_at", "created_at",
    "updated_at", "started_at", "completed_at", "archived_at", "output", "input", "form",
)  # fmt: skip
TASK = ", ".join(TASK_COLUMNS)
LARGE_COLUMNS = ("description", "depends_on", "labels", "metadata", "error", "reason", "output", "input", "form")
"""Columns that may have many kilobytes."""
OMITTED = ("input", "output", "form", "error.details")
"""What lists leave out."""
_OMITTED = {
    "input": "NULL AS input", "output": "NULL AS output", "form": "NULL AS form",
    "error": "json_remove(error, '$.details') AS error",
}  # fmt: skip
TASK_SHORT = ", ".join(_OMITTED.get(column, column) for column in TASK_COLUMNS)
WORKFLOW_COLUMNS = (
    "seq", "id", "org_id", "space_id", "kind", "name", "description", "state", "metadata", "created_by", "required",
    "max_parallel", "failure_policy", "generation", "version", "total", "active", "completed", "failed", "cancelled",
    "error", "idempotency_key", "created_at", "updated_at", "started_at", "completed_at",
)  # fmt: skip
WORKFLOW = ", ".join(WORKFLOW_COLUMNS)
ATTEMPT_COLUMNS = (
    "task_id", "number", "generation", "state", "agent_id", "claimed_at", "started_at", "ended_at", "lease_expires_at",
    "error", "actor",
)  # fmt: skip
ATTEMPT = ", ".join(ATTEMPT_COLUMNS)
EVENT = "org_id, seq, kind, at, task_id, workflow_id, data, hash, actor"

_DEFAULT_RETRY = RetryPolicy()
_DEFAULT_RETRY_JSON = _DEFAULT_RETRY.model_dump_json()

PAYLOAD_LIMIT = 1024 * 1024
DETAIL_LIMIT = 64 * 1024
DEPTH_LIMIT = 100
BROKEN: Any = object()
"""Stands for what cannot be read."""
UNREADABLE = "unreadable"
"""The error of what is damaged in the file."""


_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode


def dump_payload(value: Any, field: str, limit: int = PAYLOAD_LIMIT) -> str | None:
    """`value` as JSON text, or None for None. Raises InvalidInput for what JSON cannot say (NaN, infinities,
    objects, keys that are no strings) and PayloadTooLarge above `limit` bytes."""
    if value is None:
        return None
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    try:
        text = _encode(value)
        size = len(text) if text.isascii() else len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{field} cannot be stored as JSON: {error}", field=field) from error
    if size > limit:
        raise PayloadTooLarge(
            f"{field} is {size} bytes as JSON, the limit is {limit}; store it elsewhere and pass a reference",
            field=field,
            size=size,
            limit=limit,
        )
    _refuse_unreadable(value, field)
    return text


def _refuse_unreadable(value: Any, field: str) -> None:
    """json.dumps turns the keys 1, True and None into text in silence, and writes deeper than pydantic reads:
    what is read back would differ, or not be read at all."""
    pending = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > DEPTH_LIMIT:
            raise InvalidInput(f"{field} is nested more than {DEPTH_LIMIT} levels deep", field=field, limit=DEPTH_LIMIT)
        if isinstance(item, dict):
            for key, inner in item.items():
                if type(key) is not str and not isinstance(key, str):
                    raise InvalidInput(f"{field} has the key {key!r}; JSON keys are strings", field=field)
                if isinstance(inner, dict | list | tuple):
                    pending.append((inner, depth + 1))
        elif isinstance(item, list | tuple):
            pending.extend((inner, depth + 1) for inner in item if isinstance(inner, dict | list | tuple))


def load(text: str | None) -> Any:
    return None if text is None else from_json(text)


def dump(value: Any) -> str:
    return to_json(value).decode()


def canonical_hash(value: Any) -> str:
    """SHA-256 of the value's canonical JSON: keys sorted, no blanks."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def text_hash(text: str | None) -> str | None:
    """A short fingerprint of stored JSON text: 128 bits of SHA-256."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()[:32]


def dump_retry(policy: RetryPolicy) -> str:
    return _DEFAULT_RETRY_JSON if policy == _DEFAULT_RETRY else policy.model_dump_json()


def load_retry(text: str) -> RetryPolicy:
    if text == _DEFAULT_RETRY_JSON:
        return _DEFAULT_RETRY
    try:
        return RetryPolicy.model_validate_json(text)
    except ValueError:  # an end must be recorded whatever pause it asked for
        return _DEFAULT_RETRY


def load_or(text: str | None, otherwise: Any) -> Any:
    """What is only shown, and in whose place something else may be shown."""
    try:
        return load(text)
    except ValueError:
        return otherwise


def dump_error(error: TaskError | None) -> str | None:
    return None if error is None else error.model_dump_json()


def load_error(text: str | None) -> TaskError | None:
    if text is None:
        return None
    try:
        return TaskError.model_validate_json(text)
    except ValueError:
        return TaskError(type=UNREADABLE, message="the error that was kept here cannot be read any more")


_PROVED, _SAID = "proved:", "said:"


def dump_actor(actor: Actor | None) -> str | None:
    return None if actor is None else f"{_PROVED if actor.proved else _SAID}{actor.name}"


def dump_said(name: str) -> str:
    """The actor of whom nothing but a name is known."""
    return f"{_SAID}{name}"


def load_actor(text: str | None) -> Actor | None:
    if text is None:
        return None
    proved = text.startswith(_PROVED)
    return Actor(name=text.removeprefix(_PROVED if proved else _SAID), proved=proved)


def readable(rows: Iterable[Values], make: Callable[[Values], T]) -> list[T]:
    """What is made of those rows of which something can be made; the others are named in the log."""
    found = []
    for values in rows:
        try:
            found.append(make(values))
        except (sqlite3.Error, MemoryError):
            raise
        except Exception as error:
            log.error("a row cannot be read", extra={"row": shown(values[:2], 200), "said": shown(error, 1000)})
    return found


def task_row(values: tuple[Any, ...]) -> Row:
    return dict(zip(TASK_COLUMNS, values, strict=True))


def workflow_row(values: tuple[Any, ...]) -> Row:
    return dict(zip(WORKFLOW_COLUMNS, values, strict=True))


STATES = {str(state): state for state in TaskState}
_MODES = {str(mode): mode for mode in Mode}
_PLACEMENTS = {str(placement): placement for placement in Placement}
_ENGINES = {str(engine): engine for engine in Engine}
_PRIORITIES = {int(priority): priority for priority in Priority}


_ALL_SET = set(Task.model_fields)
_put = object.__setattr__


def _time(seconds: float | None) -> Any:
    return None if seconds is None else utc(seconds)


def to_task(row: Row, omitted: tuple[str, ...] = ()) -> Task:
    """The model of a row, of which some may have been left out, to be shown. What of it cannot be read is left out too,
    and named in its error."""
    try:
        return whole_task(row, omitted)
    except (ValueError, TypeError):
        return _what_is_left(row, omitted)


def _what_is_left(row: Row, omitted: tuple[str, ...]) -> Task:
    damaged = [column for column in _IN_JSON if load_or(row[column], BROKEN) is BROKEN]
    damaged += [column for column in ("labels", "depends_on") if not isinstance(load_or(row[column], None), list)]
    whole = {**row, **{column: _NEUTRAL.get(column) for column in damaged}}
    said = f"the file is damaged here: {', '.join(sorted(set(damaged)))}"
    error = TaskError(type=UNREADABLE, message=said)
    return whole_task({**whole, "error": row["error"] or dump_error(error)}, omitted)


_IN_JSON = ("metadata", "input", "output", "form")
_NEUTRAL = {"labels": "[]", "depends_on": "[]", "metadata": "{}"}


def whole_task(row: Row, omitted: tuple[str, ...] = ()) -> Task:
    """The model of a row of which nothing may be missing, as it is to be run. Raises ValueError, TypeError."""
    return _unchecked(
        {
            "id": row["id"],
            "org_id": row["org_id"],
            "space_id": row["space_id"],
            "title": row["title"],
            "name": row["name"],
            "description": row["description"],
            "capability": row["capability"],
            "mode": _MODES[row["mode"]],
            "placement": _PLACEMENTS[row["placement"]],
            "engine": _ENGINES[row["engine"]],
            "generation": row["generation"],
            "state": STATES[row["state"]],
            "priority": _PRIORITIES[row["priority"]],
            "queue": row["queue"],
            "assigned_to": row["assigned_to"] or row["reserved_for"],
            "created_by": row["created_by"],
            "workflow_id": row["workflow_id"],
            "parent_task_id": row["parent_task_id"],
            "correlation_id": row["correlation_id"],
            "depends_on": _texts(row["depends_on"]),
            "on_dependency_failure": row["on_dependency_failure"],
            "labels": _texts(row["labels"]),
            "metadata": {} if row["metadata"] == "{}" else load(row["metadata"]),
            "input": load(row["input"]),
            "output": load(row["output"]),
            "error": load_error(row["error"]),
            "reason": row["reason"],
            "progress": row["progress"],
            "progress_message": row["progress_message"],
            "max_retries": row["max_retries"],
            "retry_count": row["retry_count"],
            "lost_count": row["lost_count"],
            "retry": load_retry(row["retry"]),
            "timeout": row["timeout"],
            "not_before": _time(row["not_before"]),
            "deadline_at": _time(row["deadline_at"]),
            "lease_expires_at": _time(row["lease_expires_at"]),
            "attempt": row["attempt"],
            "version": row["version"],
            "idempotency_key": row["idempotency_key"],
            "created_at": utc(row["created_at"]),
            "updated_at": utc(row["updated_at"]),
            "started_at": _time(row["started_at"]),
            "completed_at": _time(row["completed_at"]),
            "archived_at": _time(row["archived_at"]),
            "form": load(row["form"]),
            "omitted": omitted,
        }
    )


def _unchecked(values: Row) -> Task:
    """What Task.model_construct does, in a quarter of its time. Rows were checked on their way in; checking
    again costs as much as the SQL, and every answer of the store is made here."""
    task = Task.__new__(Task)
    _put(task, "__dict__", values)
    _put(task, "__pydantic_fields_set__", _ALL_SET)
    _put(task, "__pydantic_extra__", None)
    _put(task, "__pydantic_private__", None)
    return task


def _texts(text: str) -> tuple[str, ...]:
    return () if text == "[]" else tuple(load(text))


def to_attempt(values: tuple[Any, ...]) -> Attempt:
    row = dict(zip(ATTEMPT_COLUMNS, values, strict=True))
    return Attempt(
        task_id=row["task_id"],
        number=row["number"],
        generation=row["generation"],
        state=AttemptState(row["state"]),
        agent_id=row["agent_id"],
        claimed_at=utc(row["claimed_at"]),
        started_at=_time(row["started_at"]),
        ended_at=_time(row["ended_at"]),
        lease_expires_at=_time(row["lease_expires_at"]),
        error=load_error(row["error"]),
        actor=load_actor(row["actor"]),
    )


def to_workflow(row: Row, counts: dict[TaskState, int]) -> Workflow:
    return Workflow(
        id=row["id"],
        org_id=row["org_id"],
        space_id=row["space_id"],
        kind=row["kind"],
        name=row["name"],
        description=row["description"],
        state=WorkflowState(row["state"]),
        metadata=load_or(row["metadata"], {}),
        created_by=row["created_by"],
        join=row["total"] if row["required"] is None else row["required"],
        max_parallel=row["max_parallel"],
        failure_policy=row["failure_policy"],
        generation=row["generation"],
        version=row["version"],
        total=row["total"],
        counts=counts,
        error=load_error(row["error"]),
        idempotency_key=row["idempotency_key"],
        created_at=utc(row["created_at"]),
        updated_at=utc(row["updated_at"]),
        started_at=_time(row["started_at"]),
        completed_at=_time(row["completed_at"]),
    )


def to_event(values: tuple[Any, ...]) -> Event:
    org_id, seq, kind, at, task_id, workflow_id, data, digest, actor = values
    return Event(
        org_id=org_id,
        seq=seq,
        kind=kind,
        at=utc(at),
        task_id=task_id,
        workflow_id=workflow_id,
        data=load_or(data, {UNREADABLE: True}),
        hash=digest,
        actor=load_actor(actor),
    )
