"""Grouping: the arguments of pipeline, fan_out and dag, checked and in the store's terms.

It must not know the store's rows, nor which verb is called.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from durable_tasks.checks import build, check_batch, check_policy, check_text, group_content, required_members
from durable_tasks.errors import InvalidInput
from durable_tasks.models import DEFAULT_SPACE, FailurePolicy, Join, NewTask, WorkflowKind
from durable_tasks.store.drafts import Draft
from durable_tasks.store.groups import GroupDraft
from durable_tasks.store.rows import DETAIL_LIMIT, dump_payload
from durable_tasks.wording import shown

_OPTIONS = frozenset({"description", "metadata", "space_id", "created_by", "idempotency_key", "failure_policy"})


def group_draft(
    kind: WorkflowKind,
    name: str,
    tasks: Sequence[NewTask],
    options: Mapping[str, Any],
    *,
    join: Join,
    max_parallel: int | None,
    default_policy: FailurePolicy,
    draft: Callable[[NewTask], Draft],
) -> GroupDraft:
    """A group to be created. Raises InvalidInput, PayloadTooLarge, and what `draft` raises for a task."""
    check_batch(tasks)
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise InvalidInput(f"{kind} takes {', '.join(sorted(_OPTIONS))}; not {', '.join(unknown)}", options=unknown)
    required = required_members(join, len(tasks))
    names = {option: options.get(option) for option in ("created_by", "idempotency_key")}
    checked = build(NewTask, name="x", space_id=options.get("space_id") or DEFAULT_SPACE, **names)
    if max_parallel is not None and (type(max_parallel) is not int or max_parallel < 1):
        raise InvalidInput(f"max_parallel is at least 1, not {shown(max_parallel)}", max_parallel=max_parallel)
    return GroupDraft(
        kind=kind,
        name=check_text(name, "name", 512),
        description=check_text(options.get("description") or "", "description", 65536, empty=True),
        space_id=checked.space_id,
        metadata=dump_payload(options.get("metadata") or {}, "metadata", DETAIL_LIMIT) or "{}",
        created_by=checked.created_by,
        required=required,
        max_parallel=max_parallel,
        failure_policy=check_policy(options.get("failure_policy") or default_policy),
        idempotency_key=checked.idempotency_key,
        content=group_content(name, tasks, options, join, max_parallel) if checked.idempotency_key else "",
        members=tuple(draft(new) for new in tasks),
    )
