"""Drafts: new tasks checked and turned into the columns of their rows before anybody waits for the file.

It must not know what is in the file.
"""

import json
from typing import NamedTuple

from durable_tasks.errors import InvalidInput
from durable_tasks.forms import FORM_LIMIT, check_form
from durable_tasks.models import Engine, Mode, NewTask, Placement
from durable_tasks.store.rows import DETAIL_LIMIT, TASK_COLUMNS, Row, canonical_hash, dump_payload, dump_retry


class Draft(NamedTuple):
    """A new task, where it is to run, and what of its row can be known before."""

    new: NewTask
    engine: Engine
    columns: Row
    content: str
    """Hash of the explicitly set fields: the same key with other content is a conflict."""


def draft(new: NewTask, *, mode: Mode, placement: Placement, engine: Engine) -> Draft:
    """Check the payloads of `new`. Raises InvalidInput, PayloadTooLarge."""
    columns: Row = dict.fromkeys(TASK_COLUMNS)
    columns |= {
        "space_id": new.space_id, "title": new.heading, "name": new.name, "description": new.description,
        "capability": new.capability, "mode": mode.value, "placement": placement.value, "generation": 1,
        "priority": new.priority.value, "queue": new.queue, "reserved_for": new.assigned_to,
        "parent_task_id": new.parent_task_id, "correlation_id": new.correlation_id, "depends_on": "[]",
        "on_dependency_failure": new.on_dependency_failure, "blocked_by": 0,
        "labels": json.dumps(new.labels, ensure_ascii=False) if new.labels else "[]",
        "metadata": (dump_payload(new.metadata, "metadata", DETAIL_LIMIT) or "{}") if new.metadata else "{}",
        "max_retries": new.max_retries, "retry_count": 0, "lost_count": 0, "retry": dump_retry(new.retry),
        "timeout": new.timeout, "attempt": 0, "version": 1, "idempotency_key": new.idempotency_key, "progress": 0.0,
        "input": dump_payload(new.input, "input"), "form": _form(new, mode),
        "delayed": None if new.delay is None else 1,
    }  # fmt: skip
    content = canonical_hash(new.model_dump(mode="json", exclude_unset=True)) if new.idempotency_key else ""
    return Draft(new, engine, columns, content)


def _form(new: NewTask, mode: Mode) -> str | None:
    if new.form is None:
        return None
    if mode is not Mode.MANUAL:
        raise InvalidInput("form: only a manual task has one; what a handler answers is its own affair", field="form")
    text = dump_payload(new.form, "form", FORM_LIMIT)
    if text is not None:
        check_form(text)
    return text
