"""Checks of arguments: each returns the value in the store's terms, or raises InvalidInput naming it.

It must not know the store; what depends on rows is checked there.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from durable_tasks.durations import DurationLike, parse_duration
from durable_tasks.errors import InvalidInput
from durable_tasks.models import (
    LARGEST_NUMBER,
    LARGEST_PAGE,
    MAX_GROUPS,
    OF_GROUP,
    Join,
    NewTask,
    TaskFilter,
    assignees,
)
from durable_tasks.store.rows import DETAIL_LIMIT, canonical_hash, dump_payload
from durable_tasks.wording import shown

Model = TypeVar("Model", bound=BaseModel)

LARGEST_BATCH = 10_000
"""Tasks of one call: they are written in one transaction, in which nobody else can write."""
MOST_DEPENDENCIES = 20_000
"""Dependencies of one call, of all its tasks together."""
ERROR_LIMIT = 8 * 1024
_BRANCHES = frozenset({"int", "float", "str", "constrained-int", "constrained-str", "TaskError"})


def new_task(title: str | None, fields: Mapping[str, Any]) -> NewTask:
    return build(NewTask, title=title, **fields) if title is not None else build(NewTask, **fields)


def build(model: type[Model], **values: Any) -> Model:
    """The model of `values`; pydantic's complaint becomes one sentence of ours."""
    return validated(model, values)


def validated(model: type[Model], values: Mapping[str, Any]) -> Model:
    """The same for values whose names come from outside."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = place(first["loc"]) or model.__name__
        why = in_words(first["msg"])
        raise InvalidInput(
            f"{field}: {why}; it was {shown(first['input'])}", field=field, value=first["input"]
        ) from error


def place(loc: Iterable[object]) -> str:
    """Where in a value something is wrong, without what only pydantic calls so: its names of the types of which a
    value may have one."""
    return ".".join(part for part in map(str, loc) if "[" not in part and part not in _BRANCHES)


def in_words(said: str) -> str:
    """What pydantic says, in the words of who sent the value: JSON has lists, not tuples."""
    return (
        said.removeprefix("Value error, ").replace("valid tuple", "valid list").replace("Tuple should", "List should")
    )


def one_or_more(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, str | int):
        return (value,)
    return tuple(value)


def task_filter(fields: Mapping[str, Any]) -> TaskFilter:
    """The filter that these arguments mean."""
    given = {name: value for name, value in fields.items() if value is not None}
    for name in ("state", "priority"):
        given[name] = one_or_more(given.get(name))
    for name in ("labels", "ids", "waiting_for"):
        given[name] = as_tuple(given.get(name, ()), name)
    return validated(TaskFilter, given)


def as_tuple(values: Any, what: str) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        kind = "the text " if isinstance(values, str) else ""
        raise InvalidInput(f"{what} is a list of texts, not {kind}{shown(values)}", value=values)
    return tuple(values)


def page_limit(limit: int, most: int = LARGEST_PAGE) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= most:
        raise InvalidInput(f"limit is a whole number from 1 to {most}, not {shown(limit)}", limit=limit)
    return limit


def task_version(version: int | None) -> int | None:
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise InvalidInput(f"version is a whole number, as a task has it, not {shown(version)}", version=version)
    return version


def event_number(after: int) -> int:
    if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after <= LARGEST_NUMBER:
        raise InvalidInput(f"after is the number of an event, 0 or more, not {shown(after)}", after=after)
    return after


def check_agent(agent_id: str) -> str:
    checked = check_text(agent_id, "agent_id", 256)
    if checked.startswith(OF_GROUP):
        raise InvalidInput(
            f"agent_id is a person or a program, not a group: {shown(agent_id)}; a member claims, and says its groups",
            agent_id=agent_id,
        )
    return checked


def check_groups(groups: Iterable[str]) -> tuple[str, ...]:
    """As tasks are assigned to them."""
    named = {check_text(group, "a group", 256 - len(OF_GROUP)) for group in as_tuple(groups, "groups")}
    if len(named) > MAX_GROUPS:
        raise InvalidInput(f"at most {MAX_GROUPS} groups in one call, not {len(named)}", count=len(named))
    return assignees(named)


def check_text(value: Any, what: str, longest: int, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (empty or value) or len(value) > longest or not _is_whole(value):
        raise InvalidInput(
            f"{what} is a text of {0 if empty else 1} to {longest} characters, not {shown(value)}", value=value
        )
    return value


def _is_whole(text: str) -> bool:
    """Whether it has no half characters, which nothing can store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_reason(reason: str | None) -> str | None:
    return None if reason is None else check_text(reason, "reason", ERROR_LIMIT, empty=True)


def lease_seconds(lease: DurationLike | None) -> float | None:
    if lease is None:
        return None
    seconds = parse_duration(lease)
    if seconds <= 0:
        raise InvalidInput(f"a lease is above 0 seconds, not {shown(lease)}; None holds until release", lease=lease)
    return seconds


def capability_list(capabilities: Sequence[str] | None) -> tuple[str, ...] | None:
    if capabilities is None:
        return None
    listed = tuple(dict.fromkeys(as_tuple(capabilities, "capabilities")))
    for capability in listed:
        build(NewTask, name="x", capability=capability)
    if len(listed) > 100:
        raise InvalidInput(f"at most 100 capabilities in one call, not {len(listed)}", count=len(listed))
    return listed


def check_batch(tasks: Sequence[NewTask]) -> None:
    if not 1 <= len(tasks) <= LARGEST_BATCH:
        raise InvalidInput(f"give 1 to {LARGEST_BATCH} tasks, not {len(tasks)}", count=len(tasks))
    for new in tasks:
        if not isinstance(new, NewTask):
            raise InvalidInput(f"{shown(new)} is not a NewTask", value=new)
    dependencies = sum(len(new.depends_on) for new in tasks)
    if dependencies > MOST_DEPENDENCIES:
        raise InvalidInput(
            f"the tasks of one call have at most {MOST_DEPENDENCIES} dependencies together, not {dependencies};"
            " let a task in between wait for many, and many wait for that one",
            count=dependencies,
            limit=MOST_DEPENDENCIES,
        )


def required_members(join: Join, total: int) -> int | None:
    if join.wanted == "all":
        return None
    if join.wanted != "any" and (
        isinstance(join.wanted, bool) or not isinstance(join.wanted, int) or not 1 <= join.wanted <= total
    ):
        raise InvalidInput(
            f'join is "all", "any" or a number from 1 to {total}, not {shown(join.wanted)}', join=join.wanted
        )
    return join.required(total)


def check_policy(policy: str) -> str:
    if policy not in ("fail_fast", "continue"):
        raise InvalidInput(f'failure_policy is "fail_fast" or "continue", not {shown(policy)}', failure_policy=policy)
    return policy


def group_content(
    name: str, tasks: Sequence[NewTask], options: Mapping[str, Any], join: Join, max_parallel: int | None
) -> str:
    members = [new.model_dump(mode="json", exclude_unset=True) for new in tasks]
    return canonical_hash([name, members, dict(options), list(join), max_parallel])


def edited_columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Edited fields as columns, each checked by the model that new tasks are checked by."""
    new = build(NewTask, **{"name": "x", **{name: value for name, value in fields.items() if value is not None}})
    columns: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None and name not in ("assigned_to", "deadline", "timeout"):
            raise InvalidInput(f"{name} cannot be removed; give a value", field=name)
        columns[name] = None if value is None else _column(name, getattr(new, name))
    return columns


def _column(name: str, value: Any) -> Any:
    if name in ("labels", "metadata"):
        return dump_payload(value, name, DETAIL_LIMIT)
    return int(value) if name == "priority" else value
